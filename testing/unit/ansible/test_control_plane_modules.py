"""What the modules that keep Consul and Nomad decide: is an object as wanted, and what is a person told."""

from __future__ import annotations

import pytest

from testing.ansible_code import load_library

pytestmark = pytest.mark.unit

consul_acl = load_library("consul_acl")
cluster_status = load_library("cluster_status")
cluster_servers = load_library("cluster_servers")
cluster_leave = load_library("cluster_leave")
nomad_drain = load_library("nomad_drain")


def test_an_object_is_as_wanted_when_it_has_more_fields_than_were_asked_for() -> None:
    have = {"Name": "x", "Rules": "node_prefix {}\n", "ID": "1", "Policies": [{"ID": "2", "Name": "p"}]}
    assert consul_acl.covers(have, {"Name": "x", "Rules": "node_prefix {}", "Policies": [{"Name": "p"}]})


def test_an_object_with_more_or_other_rights_is_not_as_wanted() -> None:
    have = {"Name": "x", "Policies": [{"Name": "p"}, {"Name": "q"}]}
    assert not consul_acl.covers(have, {"Policies": [{"Name": "p"}]})
    assert not consul_acl.covers(have, {"Policies": [{"Name": "p"}, {"Name": "r"}]})
    assert not consul_acl.covers(have, {"Rules": "x"})


def test_nothing_and_an_empty_list_are_the_same_to_consul() -> None:
    assert consul_acl.covers({"Policies": None}, {"Policies": []})


def answers(**other: object) -> dict[str, object]:
    """What Consul and Nomad say of a controller that leads and a worker."""
    leads = {"Servers": [{"Node": "den", "Leader": True, "Voter": True}]}
    nomad_leads = {"Servers": [{"Node": "den.global", "Leader": True, "Voter": True}]}
    places = {"den": "10.0.0.1", "attic": "10.0.0.2"}
    return {
        "inventory": {"den": "controller", "attic": "worker"},
        "members": [
            {"Name": name, "Addr": address, "Status": 1, "Tags": {"build": "1.22.3:abc"}}
            for name, address in places.items()
        ],
        "nodes": [
            {
                "Name": name,
                "Address": address,
                "Status": "ready",
                "SchedulingEligibility": "eligible",
                "CreateIndex": 1,
                "Version": "1.11.3",
            }
            for name, address in places.items()
        ],
        "consul_raft": leads,
        "nomad_raft": nomad_leads,
        "jobs": [],
        "checks": [],
        "certificate_days": 300.0,
    } | other


def test_a_table_names_every_node_with_its_role_its_versions_and_who_leads() -> None:
    lines = cluster_status.columns(cluster_status.node_rows(answers()))
    assert lines[1].split() == ["attic", "worker", "10.0.0.2", "alive", "ready", "1.22.3,", "1.11.3"]
    assert lines[2].endswith("leads")
    assert cluster_status.attention(answers()) == []


def test_a_node_that_failed_or_is_in_no_inventory_needs_a_look() -> None:
    members = [{"Name": "den", "Status": 1}, {"Name": "attic", "Status": 4}, {"Name": "old", "Status": 1}]
    found = cluster_status.attention(answers(members=members))
    assert len(found) == 2
    assert found[0].startswith("attic: Consul says failed")
    assert "old is in the cluster and not in the inventory" in found[1]
    assert "playbooks/remove_node.yaml -e hostname=old -e gone=true" in found[1]


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (
            {"Drain": True, "SchedulingEligibility": "ineligible"},
            "attic drains: unless something is being done",
        ),
        ({"Drain": True}, "nomad node drain -disable 0a1b2c3d on a controller."),
        ({"SchedulingEligibility": "ineligible"}, "nomad node eligibility -enable 0a1b2c3d on a controller."),
    ],
)
@pytest.mark.parametrize("name", ["attic", "den"])
def test_a_node_that_takes_no_jobs_needs_a_look(name: str, state: dict[str, object], sentence: str) -> None:
    node = {"Name": name, "ID": "0a1b2c3d-9", "Status": "ready", "CreateIndex": 2}
    given = answers()
    others = [other for other in given["nodes"] if other["Name"] != name]  # type: ignore[attr-defined]
    (found,) = cluster_status.attention(answers(nodes=[*others, node | state]))
    assert sentence.replace("attic", name) in found


def test_a_server_that_is_missing_among_the_voters_needs_a_look() -> None:
    (found,) = cluster_status.attention(answers(nomad_raft={"Servers": []}))
    assert found == "Nomad has 0 voting servers, the inventory 1 controllers."


@pytest.mark.parametrize(
    ("now_s", "told"),
    [(1_800_000_000.0, ""), (1_828_000_000.0, "end in 16 days"), (1_830_000_000.0, "have ended")],
)
def test_certificates_that_end_soon_are_told(now_s: float, told: str) -> None:
    days = cluster_status.days_left("notAfter=Dec 21 10:13:20 2027 GMT\n", now_s)
    assert told in " ".join(cluster_status.attention(answers(certificate_days=days)))
    assert bool(told) == (days < cluster_status.WARN_DAYS)


@pytest.mark.parametrize(
    ("job", "needs_a_look"),
    [
        ({"Type": "service", "Status": "running", "Stop": False}, False),
        ({"Type": "service", "Status": "pending", "Stop": False}, True),
        ({"Type": "service", "Status": "dead", "Stop": False}, True),
        ({"Type": "service", "Status": "dead", "Stop": True}, False),
        ({"Type": "batch", "Status": "dead", "Stop": False}, False),
    ],
)
def test_a_job_that_should_run_and_does_not_needs_a_look(job: dict[str, object], needs_a_look: bool) -> None:
    assert bool(cluster_status.attention(answers(jobs=[{"ID": "x", **job}]))) is needs_a_look


@pytest.mark.parametrize(("running", "told"), [(2, []), (1, ["is missing on 1"])])
def test_a_job_that_belongs_on_every_machine_is_missed_where_it_does_not_run(
    running: int, told: list[str]
) -> None:
    summary = {"Summary": {"front": {"Running": running}}}
    front = {"ID": "ingress", "Type": "system", "Status": "running", "Stop": False, "JobSummary": summary}
    found = cluster_status.attention(answers(jobs=[front]))
    assert [text for text in told if text in " ".join(found)] == told
    assert len(found) == len(told)


def test_of_two_entries_of_a_machine_the_one_that_is_up_counts() -> None:
    class Entries:
        def get(self, path: str) -> list[dict[str, str]]:
            states = {"old": "disconnected", "older": "down", "now": "ready"}
            return [{"Name": "attic", "ID": entry, "Status": state} for entry, state in states.items()]

    assert nomad_drain.node_named(Entries(), "attic")["ID"] == "now"


def test_a_service_passes_where_all_its_checks_pass() -> None:
    def check(node: str, status: str) -> dict[str, str]:
        return {"ServiceName": "pipecat-app", "Node": node, "ServiceID": f"on-{node}", "Status": status}

    checks = [
        check("den", "passing"),
        check("den", "critical"),
        check("attic", "passing"),
        {"ServiceName": ""},
    ]
    rows = cluster_status.service_rows(checks)
    assert rows[1:] == [["pipecat-app", "1 of 2", "attic, den"]]
    (found,) = cluster_status.attention(answers(checks=checks))
    assert "passes its checks on 1 of 2 places" in found


def raft(*servers: tuple[str, bool, bool]) -> dict[str, object]:
    """Servers as raft's configuration lists them: name, leads, has a vote."""
    return {"Servers": [{"Node": name, "Leader": leads, "Voter": votes} for name, leads, votes in servers]}


def well(*names: str, ill: str = "") -> dict[str, object]:
    return {"Servers": [{"Name": name, "Healthy": name != ill} for name in names]}


def test_the_servers_are_as_they_should_be_when_exactly_they_vote_one_leads_and_all_are_well() -> None:
    both = {"den", "attic"}
    votes = raft(("den.global", True, True), ("attic.global", False, True))
    assert cluster_servers.fault_of("nomad", votes, well("den.global", "attic.global"), both) == ""


def test_a_server_without_a_vote_is_not_one_yet() -> None:
    votes = raft(("den", True, True), ("attic", False, False))
    fault = cluster_servers.fault_of("consul", votes, well("den", "attic"), {"den", "attic"})
    assert fault == "Consul's servers are den, and should be attic, den"


def test_a_server_that_is_not_well_is_named() -> None:
    votes = raft(("den", True, True), ("attic", False, True))
    fault = cluster_servers.fault_of("consul", votes, well("den", "attic", ill="attic"), {"den", "attic"})
    assert "not well: attic" in fault
    assert "not well: ?" in cluster_servers.fault_of("consul", votes, "No cluster leader", {"den", "attic"})


def test_no_leader_is_a_fault() -> None:
    votes = raft(("den", False, True))
    assert cluster_servers.fault_of("nomad", votes, well("den"), {"den"}) == "Nomad has no leader"


def test_a_machines_vote_is_found_by_its_name_in_either_system() -> None:
    votes = raft(("den.global", True, True), ("attic", False, True))
    assert cluster_leave.server_of(votes, "den")["Leader"]
    assert cluster_leave.server_of(votes, "barn") is None
