//! Three Apache Kafka nodes on the loopback address; all are brokers, and the first is the controller, too.

use std::sync::MutexGuard;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{DefaultProducerContext, Producer, ThreadedProducer};

use super::{Broker, free_port};

const REPLICATED: &str = "
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
";

/// By `node.id`, from 1.
pub struct Cluster {
    nodes: Vec<Broker>,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    pub fn start() -> Self {
        let turn = super::turn();
        let controller_port = free_port();
        let role = |id: i32| if id == 1 { String::new() } else { format!("process.roles=broker\nnode.id={id}\n") };
        let nodes: Vec<Broker> = (1..=3).map(|id| Broker::prepare(controller_port, &(role(id) + REPLICATED), None)).collect();
        std::thread::scope(|scope| nodes.iter().for_each(|node| drop(scope.spawn(|| node.restart()))));
        let cluster = Self { nodes, _turn: turn };
        cluster.make_internal_topics();
        cluster
    }

    pub fn node(&self, id: i32) -> &Broker {
        &self.nodes[id as usize - 1]
    }

    pub fn nodes(&self) -> &[Broker] {
        &self.nodes
    }

    pub fn addresses(&self) -> String {
        self.nodes.iter().map(Broker::address).collect::<Vec<_>>().join(",")
    }

    /// Brokers make the topics of groups and transactions when they are first asked for.
    fn make_internal_topics(&self) {
        let patience = Duration::from_secs(60);
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.addresses());
        let producer: ThreadedProducer<DefaultProducerContext> = client.clone().set("transactional.id", "first").create().unwrap();
        producer.init_transactions(patience).unwrap();
        let consumer: BaseConsumer = client.set("group.id", "first").create().unwrap();
        consumer.committed_offsets(rdkafka::TopicPartitionList::new(), patience).ok();
        super::wait_for("the topic of groups", 60, || self.leaders("__consumer_offsets").contains(&Some(1)).then_some(()));
    }

    /// The leader of each partition, as far as there is one.
    pub fn leaders(&self, topic: &str) -> Vec<Option<i32>> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", self.addresses()).create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
        let mut partitions: Vec<_> = metadata.topics()[0].partitions().iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        partitions.iter().map(|partition| Some(partition.leader()).filter(|leader| *leader > 0)).collect()
    }

    /// Who coordinates these consumer groups and transactional ids.
    pub fn coordinators(&self, groups: &[&str], transactional_ids: &[&str]) -> Vec<Option<i32>> {
        let of = |topic: &str, names: &[&str]| -> Vec<Option<i32>> {
            let leaders = self.leaders(topic);
            names.iter().map(|name| leaders[place(name, leaders.len())]).collect()
        };
        [of("__consumer_offsets", groups), of("__transaction_state", transactional_ids)].concat()
    }

    /// The first of `names` that this node coordinates.
    pub fn name_with_coordinator(&self, topic: &str, node: i32, names: impl Iterator<Item = String>) -> String {
        let leaders = self.leaders(topic);
        let mut names = names.take(1000);
        names.find(|name| leaders[place(name, leaders.len())] == Some(node)).unwrap_or_else(|| panic!("{topic}: {leaders:?}"))
    }
}

/// The partition in which the brokers keep what they know of a name: `String.hashCode` of Java, modulo their number.
fn place(name: &str, partitions: usize) -> usize {
    let hash = name.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) as usize % partitions
}
