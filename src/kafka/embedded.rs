//! An embedded broker for the demo: librdkafka's mock cluster, on a thread of its own because it is not `Send`.
//!
//! It has no transactions, and every partition is a ring of 5 MiB: whoever writes must not run far ahead of the readers.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use rdkafka::mocking::MockCluster;

use super::Error;

pub struct EmbeddedBroker {
    address: String,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedBroker {
    /// Starts one broker on a loopback port of its choice, with these topics.
    ///
    /// # Errors
    /// [`Error::Client`] where no port can be opened.
    pub fn start(topics: &[(String, i32)]) -> Result<Self, Error> {
        let (stop, stopped) = channel();
        let (ready, started) = channel();
        let topics = topics.to_vec();
        let body = move || {
            let cluster = MockCluster::new(1).and_then(|cluster| {
                topics.iter().try_for_each(|(name, partitions)| cluster.create_topic(name, *partitions, 1))?;
                Ok(cluster)
            });
            match cluster {
                Ok(cluster) => {
                    let _ = ready.send(Ok(cluster.bootstrap_servers()));
                    // Held until the owner is dropped.
                    let _ = stopped.recv();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let thread = thread::Builder::new().name("embedded-broker".into()).spawn(body);
        let thread = thread.map_err(|error| Error::Client(format!("a thread cannot be started: {error}")))?;
        let address = started.recv().map_err(|_| Error::Client("the embedded broker did not start".into()))??;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// host:port.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
