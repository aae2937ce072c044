"""Costs of models: parameters, multiply-adds, memory of activations, context in time, and time on a device."""
