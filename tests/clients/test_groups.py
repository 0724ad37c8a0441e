"""Consumer groups of real clients: members that come and go under load share a topic, each record
is consumed, no partition has two owners, and a member that returns goes on at the committed offset.
"""

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions

import groups

PARTITIONS = 6
# Clients that speak the consumer protocol (KIP-848) beside the classic one.
CONSUMER_PROTOCOL = ["confluent-kafka", "franz-go", "java"]
CASES = [(client, "classic") for client in [*groups.COMMANDS, "kcat"]]
CASES += [(client, "consumer") for client in CONSUMER_PROTOCOL]


@pytest.fixture
def group(request, broker, make_topic):
    client, protocol = request.param
    group = groups.Group(client, broker.bootstrap, make_topic(PARTITIONS), PARTITIONS, protocol)
    yield group
    group.close()


def committed(admin, group):
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group.name)])[group.name].result(30)
    return {place.partition: place.offset for place in found.topic_partitions}


@pytest.mark.parametrize("group", CASES, ids="-".join, indirect=True)
def test_group_shares_a_topic(group, broker, admin, record_property):
    record_property("client", group.client)
    load = groups.Load(broker.bootstrap, group.topic, PARTITIONS).start()
    first = group.join()
    group.settle(first)
    second = group.join()
    group.settle(first, second)
    group.leave(second, load)
    group.settle(first)
    third = group.join()
    group.settle(first, third)
    load.stop()
    written = load.written()
    group.consumed(written)
    for member in (first, third):
        member.close()
    # No member failed, so nothing may have been handed out twice either.
    assert len(group.seen()) == len(written)
    assert groups.overlaps(group.members) == []
    assert committed(admin, group) == dict(load.ends)

    new = load.write(each=20)
    returned = group.join()
    group.consumed(new)
    returned.close()
    assert sorted(returned.seen()) == sorted(new)
    assert committed(admin, group) == dict(load.ends)
