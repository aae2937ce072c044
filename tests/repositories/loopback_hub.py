"""The part of the Hugging Face hub that a download needs, on this machine."""

import hashlib

from repositories.loopback import FileServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(FileServer):
    """Serves `repositories` (name -> file name -> bytes)."""

    def __init__(self, repositories):
        super().__init__({f"/{repository}/resolve/main/{name}": content
                          for repository, files in repositories.items() for name, content in files.items()})

    def headers(self, path, content):
        if content is None:
            repository = path.partition("/resolve/")[0]
            known = any(file.startswith(f"{repository}/") for file in self.files)
            return {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"}
        return {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}


def use(monkeypatch, endpoint, cache):
    """What HF_ENDPOINT and HF_HOME do when huggingface_hub is imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
