//! The rights that users have on a broker, seen, withdrawn and granted again by Kafka's protocol: its tool takes seconds each time.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::wait_for;

/// Of <https://kafka.apache.org/protocol>: DescribeAcls, CreateAcls and DeleteAcls, in the last version without tagged fields.
const DESCRIBE: i16 = 29;
const CREATE: i16 = 30;
const DELETE: i16 = 31;
const VERSION: i16 = 1;

const ANY: u8 = 1;
const ALLOW: u8 = 3;
const PREFIXED: u8 = 4;

/// One thing that one user may do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// As `User:classifier`.
    principal: String,
    operation: u8,
    resource: u8,
    pub name: String,
    pattern: u8,
}

impl Right {
    pub fn user(&self) -> &str {
        self.principal.trim_start_matches("User:")
    }

    /// As kafka-acls.sh and the program name it.
    pub fn operation(&self) -> &'static str {
        match self.operation {
            3 => "Read",
            4 => "Write",
            5 => "Create",
            8 => "Describe",
            other => panic!("operation {other}"),
        }
    }

    pub fn resource(&self) -> &'static str {
        match self.resource {
            2 => "topic",
            3 => "consumer group",
            5 if self.pattern == PREFIXED => "transactional ids that begin with",
            other => panic!("resource {other}"),
        }
    }
}

impl fmt::Debug for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} on {} {}", self.principal, self.operation(), self.resource(), self.name)
    }
}

/// All rights of a broker, by a listener whose user may do everything.
pub struct Rights {
    address: String,
}

impl Rights {
    pub fn on(address: String) -> Self {
        Self { address }
    }

    pub fn all(&self) -> Vec<Right> {
        let mut body = Body::default();
        body.filter(ANY, None, ANY, None, ANY, ANY);
        let mut answer = Answer { bytes: self.ask(DESCRIBE, &body.0), at: 4 }; // behind the time that it was held back for
        answer.no_error();
        let mut rights = Vec::new();
        for _ in 0..answer.int() {
            let (resource, name, pattern) = (answer.byte(), answer.text(), answer.byte());
            for _ in 0..answer.int() {
                let (principal, _host, operation) = (answer.text(), answer.text(), answer.byte());
                assert_eq!(answer.byte(), ALLOW, "{principal} on {name}");
                rights.push(Right { principal, operation, resource, name: name.clone(), pattern });
            }
        }
        rights.sort();
        rights
    }

    pub fn grant(&self, right: &Right) {
        let mut body = Body::default();
        body.int(1);
        body.byte(right.resource);
        body.text(Some(&right.name));
        body.byte(right.pattern);
        body.text(Some(&right.principal));
        body.text(Some("*"));
        body.byte(right.operation);
        body.byte(ALLOW);
        self.change(CREATE, &body);
        wait_for("the right to be there", 10, || self.all().contains(right).then_some(()));
    }

    pub fn withdraw(&self, right: &Right) {
        let mut body = Body::default();
        body.int(1);
        body.filter(right.resource, Some(&right.name), right.pattern, Some(&right.principal), right.operation, ALLOW);
        self.change(DELETE, &body);
        wait_for("the right to be gone", 10, || (!self.all().contains(right)).then_some(()));
    }

    fn change(&self, request: i16, body: &Body) {
        let mut answer = Answer { bytes: self.ask(request, &body.0), at: 4 };
        for _ in 0..answer.int() {
            answer.no_error();
        }
    }

    fn ask(&self, request: i16, body: &[u8]) -> Vec<u8> {
        let mut head = Body::default();
        head.0.extend([request.to_be_bytes(), VERSION.to_be_bytes()].concat());
        head.int(0); // the number of the request
        head.text(None); // the client's name
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let size = (head.0.len() + body.len()) as u32;
        stream.write_all(&[&size.to_be_bytes()[..], &head.0, body].concat()).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut answer).unwrap();
        answer.split_off(4) // behind the number of the request
    }
}

#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn int(&mut self, int: i32) {
        self.0.extend(int.to_be_bytes());
    }

    fn text(&mut self, text: Option<&str>) {
        self.0.extend(text.map_or(-1, |text| text.len() as i16).to_be_bytes());
        self.0.extend(text.unwrap_or_default().as_bytes());
    }

    fn filter(&mut self, resource: u8, name: Option<&str>, pattern: u8, principal: Option<&str>, operation: u8, permission: u8) {
        self.byte(resource);
        self.text(name);
        self.byte(pattern);
        self.text(principal);
        self.text(None); // any host
        self.byte(operation);
        self.byte(permission);
    }
}

struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn take<const SIZE: usize>(&mut self) -> [u8; SIZE] {
        self.at += SIZE;
        self.bytes[self.at - SIZE..self.at].try_into().unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn text(&mut self) -> String {
        let size = i16::from_be_bytes(self.take()).max(0) as usize;
        self.at += size;
        String::from_utf8(self.bytes[self.at - size..self.at].to_vec()).unwrap()
    }

    fn no_error(&mut self) {
        let code = i16::from_be_bytes(self.take());
        let said = self.text();
        assert_eq!(code, 0, "{said}");
    }
}
