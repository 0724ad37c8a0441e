// A member of a consumer group on kafkajs; speaks the member part of ../PROTOCOL.md.
//
//   member.js CLIENT BOOTSTRAP GROUP TOPIC GROUP_PROTOCOL
//
// kafkajs itself commits what it has handed out when it gives partitions up.

const { Kafka, logLevel } = require("kafkajs");

const [, , , bootstrap, groupId, topic] = process.argv;
const tell = (event, ...fields) => process.stdout.write([event, Date.now(), ...fields].join("\t") + "\n");

async function main() {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING });
  const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 200, maxWaitTimeInMs: 100 });
  let owned = [];
  const giveUp = () => {
    tell("REVOKED", owned.join(","));
    owned = [];
  };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    owned = payload.memberAssignment[topic] || [];
    tell("ASSIGNED", owned.join(","));
  });
  consumer.on(consumer.events.REBALANCING, giveUp);
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message }) => tell("RECORD", partition, message.offset),
  });
  await new Promise((resolve) => process.stdin.once("data", resolve).once("end", resolve));
  await consumer.stop();
  giveUp();
  await consumer.disconnect();
  tell("CLOSED");
  process.exit(0);
}

main().catch((error) => {
  tell("ERROR", String(error).replaceAll("\n", " "));
  process.exit(1);
});
