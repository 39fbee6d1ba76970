"""The registry of experts: which there are, and what each is good at.

It owns the view of the directory as experts; following the directory is an adapter's business, asking an
expert its client's, choosing one the workflow's.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipecatapp.experts.expert_metadata import Profile, parse_meta
from pipecatapp.experts.service_names import expert_names, service_of
from pipecatapp.ports import MAIN_EXPERT, Expert, ExpertClients, LlmClient, ServiceDirectory


class ExpertRegistry:
    """The experts of a directory, `main` always among them.

    Args:
        directory: Who there is; of a machine that stands alone it may be empty.
        clients: Their chat models, such as an `ExpertPool`.
        well_known: What experts are good at that say nothing of it themselves.
    """

    def __init__(
        self,
        directory: ServiceDirectory,
        clients: ExpertClients,
        well_known: Mapping[str, Profile] | None = None,
    ) -> None:
        self._directory = directory
        self._clients = clients
        self._well_known = dict(well_known or {})
        self._read_at = -1
        self._experts: tuple[Expert, ...] = ()

    def all(self) -> tuple[Expert, ...]:
        """Return every expert of the directory's last snapshot, `main` first.

        `main` counts as up: behind it is this machine's own model.
        """
        if self._read_at != self._directory.version:
            self._read_at = self._directory.version
            names = dict.fromkeys((MAIN_EXPERT, *expert_names(self._directory)))
            self._experts = tuple(self._read(name) for name in names)
        return self._experts

    def client(self, expert: str) -> LlmClient:
        """Return the client of an expert."""
        return self._clients.client(expert)

    def _read(self, name: str) -> Expert:
        service = service_of(name)
        up = self._directory.healthy(service)
        # Instances of one expert say the same; while one is replaced, those that pass count.
        for endpoint in (*up, *self._directory.instances(service)):
            description, examples = parse_meta(endpoint.meta)
            if description or examples:
                return Expert(name, description, examples, self._is_up(name, up))
        known = self._well_known.get(name)
        if known is None:
            return Expert(name, is_up=self._is_up(name, up))
        return Expert(name, known.description, known.examples, self._is_up(name, up))

    @staticmethod
    def _is_up(name: str, up: tuple[object, ...]) -> bool:
        return name == MAIN_EXPERT or bool(up)
