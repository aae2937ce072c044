"""What trainings leave behind, and how they stand: for people, jobs and records."""
