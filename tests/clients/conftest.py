"""The broker under test (klamm; with `--broker kafka` the oracle), the clients, and the table of
what each client was seen to do."""

import itertools
import subprocess
from collections import defaultdict

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

import groups
import peers
from harness import broker as brokers, wait

STARTER = brokers.ROOT / "compat" / "peers" / "kafka"
# Groups rebalance at once instead of after seconds, so that tests of them are short.
SETTINGS = {"num.partitions": 4, "group.initial.rebalance.delay.ms": 0,
            "group.consumer.heartbeat.interval.ms": 200, "group.consumer.min.heartbeat.interval.ms": 200}
NAMES = itertools.count(1)
RESULTS = defaultdict(lambda: defaultdict(int))
REASONS = defaultdict(set)
VERSIONS = {}


def pytest_addoption(parser):
    parser.addoption("--broker", choices=["klamm", "kafka"], default="klamm", help="what to test")


@pytest.fixture(scope="session")
def broker(request, tmp_path_factory):
    kind = brokers.Kafka if request.config.getoption("--broker") == "kafka" else brokers.Klamm
    started = kind(tmp_path_factory.mktemp("broker"), SETTINGS).start()
    yield started
    started.close()


@pytest.fixture(scope="session")
def all_clients(broker):
    made = {name: peer(broker.bootstrap) for name, peer in peers.ALL.items()}
    VERSIONS.update({name: client.version() for name, client in made.items()})
    yield made
    for client in made.values():
        client.close()


@pytest.fixture
def client(request, all_clients):
    """The client a test is repeated for; see `for_each_client`."""
    return all_clients[request.param]


def pytest_generate_tests(metafunc):
    if "client" in metafunc.fixturenames:
        metafunc.parametrize("client", list(peers.ALL), indirect=True)


@pytest.fixture(scope="session")
def admin(broker):
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})


@pytest.fixture
def make_topic(admin):
    """Makes a topic with a fresh name and waits until its partitions have a leader."""
    def make(partitions=1, **configs):
        name = f"t{next(NAMES)}"
        settings = {key.replace("_", "."): str(value) for key, value in configs.items()}
        admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(30)

        def led():
            topic = admin.list_topics(name, 10).topics[name]
            return len(topic.partitions) == partitions and all(p.leader >= 0 for p in topic.partitions.values())
        wait.until(led, f"leaders of {name}")
        return name
    return make


def run_tool(name, *words, stdin=""):
    """Runs a class of Kafka's tools to its end; its exit code and all it printed."""
    done = subprocess.run([STARTER, "tool", name, *words], input=stdin, capture_output=True, text=True, timeout=90)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def tool(broker):
    """Runs a tool class against the broker; returns what it printed."""
    def run(name, *words, stdin="", connect="--bootstrap-server"):
        connection = [connect, broker.bootstrap] if connect else []
        code, out, errors = run_tool(name, *words, *connection, stdin=stdin)
        assert code == 0, f"{name} exited {code}:\n{out}\n{errors}"
        return out
    return run


@pytest.fixture
def refused(broker):
    """Runs a tool class that must fail; returns what it printed."""
    def run(name, *words):
        code, out, errors = run_tool(name, *words, "--bootstrap-server", broker.bootstrap)
        assert code == 1, f"{name} exited {code}:\n{out}\n{errors}"
        return out + errors
    return run


def pytest_runtest_logreport(report):
    """One row per client and test; parametrised codecs and acks are summed up in it."""
    if report.when == "call" or report.outcome == "skipped" or (report.when == "setup" and report.failed):
        function, _, parameters = report.nodeid.split("::")[-1].partition("[")
        client = next((name for name in (*peers.ALL, *groups.COMMANDS) if parameters.startswith(name)), None)
        client = client or dict(report.user_properties).get("client", "-")
        row = client, function.removeprefix("test_").replace("_", " ")
        RESULTS[row][report.outcome] += 1
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            REASONS[row].add(report.longrepr[2].removeprefix("Skipped: "))


def pytest_terminal_summary(terminalreporter):
    write = terminalreporter.write_line
    write("")
    write(f"{'client':16} {'version':30} {'what':52} {'passed':>6} {'failed':>6} {'skipped':>7}")
    for (client, what), counts in sorted(RESULTS.items()):
        reason = "; ".join(sorted(REASONS[client, what]))
        write(f"{client:16} {VERSIONS.get(client, '')[:30]:30} {what[:52]:52} {counts['passed']:6} "
              f"{counts['failed']:6} {counts['skipped']:7}  {reason}".rstrip())
