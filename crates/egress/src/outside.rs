//! A resolver outside, in this process: its answers are the test's.

#[cfg(test)]
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name as Wire, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::LocalSet;

use super::resolve::Resolver;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Udp,
    Tcp,
}

/// A server on loopback, and what it was asked: `A a.example`, with `tcp` where it came so.
pub struct Outside {
    pub address: SocketAddr,
    asked: Rc<RefCell<Vec<String>>>,
}

impl Outside {
    /// `answers` gives the messages to send back for a question, in order.
    pub async fn start(
        answers: impl FnMut(&Message, Carrier) -> Vec<Message> + 'static,
    ) -> Outside {
        // One port for both.
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = udp.local_addr().unwrap();
        let asked = Rc::new(RefCell::new(vec![]));
        let server = Rc::new(Server {
            answers: RefCell::new(Box::new(answers)),
            asked: Rc::clone(&asked),
        });
        let other = Rc::clone(&server);
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                for bytes in server.answer(&buffer[..length], Carrier::Udp) {
                    udp.send_to(&bytes, from).await.unwrap();
                }
            }
        });
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                for bytes in other.answer(&question, Carrier::Tcp) {
                    stream.write_u16(bytes.len() as u16).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                }
            }
        });
        Outside { address, asked }
    }

    /// One that has these records, `A a.example 192.0.2.1`, and answers every name that has none with
    /// an error.
    pub async fn with(records: &'static [&'static str]) -> Outside {
        Outside::start(move |question, _| vec![answer(question, records)]).await
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    pub fn resolver(&self) -> Resolver {
        Resolver::with(vec![self.address])
    }
}

type Answers = Box<dyn FnMut(&Message, Carrier) -> Vec<Message>>;

struct Server {
    answers: RefCell<Answers>,
    asked: Rc<RefCell<Vec<String>>>,
}

impl Server {
    fn answer(&self, bytes: &[u8], carrier: Carrier) -> Vec<Vec<u8>> {
        let question = Message::from_vec(bytes).unwrap();
        let query = &question.queries[0];
        let carried = match carrier {
            Carrier::Udp => "",
            Carrier::Tcp => "tcp ",
        };
        let text = format!("{carried}{} {}", query.query_type(), query.name());
        self.asked.borrow_mut().push(text);
        let answers = (self.answers.borrow_mut())(&question, carrier);
        answers.iter().map(|a| a.to_vec().unwrap()).collect()
    }
}

/// The answer to a question from what there is: the chain of aliases from its name, as far as the
/// records go.
pub fn answer(question: &Message, records: &[&str]) -> Message {
    let query = question.queries[0].clone();
    let mut reply = to(question);
    let mut name = query.name().to_lowercase();
    let mut known = false;
    loop {
        let own = records
            .iter()
            .map(|text| record(text))
            .filter(|record| record.name == name);
        let own: Vec<Record> = own.collect();
        known |= !own.is_empty();
        reply.add_answers(
            own.iter()
                .filter(|r| r.record_type() == query.query_type())
                .cloned(),
        );
        let Some(alias) = own.iter().find(|r| r.record_type() == RecordType::CNAME) else {
            break;
        };
        let RData::CNAME(target) = &alias.data else {
            unreachable!()
        };
        name = target.0.clone();
        if reply.answers.contains(alias) {
            break;
        }
        reply.add_answer(alias.clone());
    }
    if !known {
        reply.metadata.response_code = ResponseCode::NXDomain;
    }
    reply
}

/// An empty answer.
pub fn to(question: &Message) -> Message {
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.add_queries(question.queries.iter().cloned());
    reply
}

/// `A a.example 192.0.2.1 [SECONDS]`
pub fn record(text: &str) -> Record {
    let words: Vec<&str> = text.split(' ').collect();
    let ttl = words.get(3).map_or(60, |seconds| seconds.parse().unwrap());
    let data = match words[0] {
        "A" => RData::A(A(words[2].parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(words[2].parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(wire(words[2]))),
        other => unreachable!("{other}"),
    };
    Record::from_rdata(wire(words[1]), ttl, data)
}

/// A question in the bytes of a message.
pub fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(wire(name), kind));
    message
}

pub fn wire(name: &str) -> Wire {
    let mut name = Wire::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}

pub fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Runs what spawns on its own thread.
pub async fn locally<T>(future: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(future).await
}
