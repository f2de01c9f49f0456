//! Makes a classic BPF program smaller without changing what it answers.
//!
//! The program is read as a graph of loads, masks, tests and returns. Equal parts become one part,
//! jumps to jumps become jumps, and a load of what the accumulator holds already goes, with its mask.

use std::collections::HashMap;

use seccompiler::sock_filter;

const LD: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const RET: u16 = 0x06;

/// An instruction, with what follows it by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Ret(u32),
    /// Load a word of `seccomp_data` at this offset, or mask the accumulator.
    Step {
        code: u16,
        k: u32,
        next: usize,
    },
    Test {
        code: u16,
        k: u32,
        yes: usize,
        no: usize,
    },
}

/// The nodes made so far, each once.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Node, usize>,
    /// By place in the old program and what the accumulator holds there.
    seen: HashMap<(usize, Option<Held>), usize>,
}

/// The content of the accumulator: the word at an offset, masked or not.
type Held = (u32, Option<u32>);

/// The same program in fewer instructions.
pub fn shrink(program: &[sock_filter]) -> Vec<sock_filter> {
    let mut graph = Graph::default();
    let start = graph.read(program, 0, None);
    graph.write(start)
}

/// The content of the accumulator after a load of `word` and the instruction behind it, if that is a mask.
fn masked(word: u32, behind: Option<&sock_filter>) -> Option<Held> {
    behind.filter(|i| i.code == AND).map(|i| (word, Some(i.k)))
}

impl Graph {
    fn add(&mut self, node: Node) -> usize {
        *self.known.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        })
    }

    /// The node for the instruction at `at`, when the accumulator holds `held`.
    fn read(&mut self, program: &[sock_filter], at: usize, held: Option<Held>) -> usize {
        if let Some(known) = self.seen.get(&(at, held)) {
            return *known;
        }
        let i = &program[at];
        let made = match i.code {
            RET => self.add(Node::Ret(i.k)),
            JA => self.read(program, at + 1 + i.k as usize, held),
            LD if held == Some((i.k, None)) => self.read(program, at + 1, held),
            LD if held.is_some() && held == masked(i.k, program.get(at + 1)) => {
                self.read(program, at + 2, held)
            }
            LD => {
                let next = self.read(program, at + 1, Some((i.k, None)));
                self.add(Node::Step {
                    code: LD,
                    k: i.k,
                    next,
                })
            }
            AND => {
                let now = match held {
                    Some((word, None)) => Some((word, Some(i.k))),
                    _ => None,
                };
                let next = self.read(program, at + 1, now);
                self.add(Node::Step {
                    code: AND,
                    k: i.k,
                    next,
                })
            }
            code if code & 0x07 == 0x05 => {
                let yes = self.read(program, at + 1 + usize::from(i.jt), held);
                let no = self.read(program, at + 1 + usize::from(i.jf), held);
                match yes == no {
                    true => yes,
                    false => self.add(Node::Test {
                        code,
                        k: i.k,
                        yes,
                        no,
                    }),
                }
            }
            code => panic!("an instruction that seccompiler does not make: {code:#x}"),
        };
        self.seen.insert((at, held), made);
        made
    }

    /// Nodes are made after what follows them, so the reverse of their making is an order in which
    /// every jump leads forward.
    fn write(&self, start: usize) -> Vec<sock_filter> {
        let mut used = vec![false; self.nodes.len()];
        used[start] = true;
        let mut order = vec![];
        for number in (0..=start).rev() {
            if !used[number] {
                continue;
            }
            order.push(number);
            match self.nodes[number] {
                Node::Ret(_) => {}
                Node::Step { next, .. } => used[next] = true,
                Node::Test { yes, no, .. } => {
                    used[yes] = true;
                    used[no] = true;
                }
            }
        }
        // Tests reach 255 instructions; what is further is reached over a jump after the test.
        let mut far = vec![false; self.nodes.len()];
        loop {
            let mut place = vec![0; self.nodes.len()];
            let mut length = 0;
            for (at, number) in order.iter().enumerate() {
                place[*number] = length;
                length += 1 + self.jumps(*number, order.get(at + 1).copied(), &far);
            }
            let stuck: Vec<usize> = order
                .iter()
                .copied()
                .filter(|number| match self.nodes[*number] {
                    Node::Test { yes, no, .. } if !far[*number] => {
                        place[yes].max(place[no]) - place[*number] > 255
                    }
                    _ => false,
                })
                .collect();
            if stuck.is_empty() {
                return self.emit(&order, &place, &far);
            }
            stuck.into_iter().for_each(|number| far[number] = true);
        }
    }

    /// Jumps that must follow the node because its successor is not the next one, or is far.
    fn jumps(&self, number: usize, next: Option<usize>, far: &[bool]) -> usize {
        match self.nodes[number] {
            Node::Step { next: wanted, .. } if Some(wanted) != next => 1,
            // The jump to what comes next anyway is saved.
            Node::Test { yes, no, .. } if far[number] => {
                2 - usize::from(next == Some(yes) || next == Some(no))
            }
            _ => 0,
        }
    }

    fn emit(&self, order: &[usize], place: &[usize], far: &[bool]) -> Vec<sock_filter> {
        let ins = |code, jt, jf, k| sock_filter { code, jt, jf, k };
        let mut program = vec![];
        for number in order {
            let here = program.len();
            let over = |target: usize, from: usize| (place[target] - from - 1) as u32;
            match self.nodes[*number] {
                Node::Ret(k) => program.push(ins(RET, 0, 0, k)),
                Node::Step { code, k, next } => {
                    program.push(ins(code, 0, 0, k));
                    if place[next] != here + 1 {
                        program.push(ins(JA, 0, 0, over(next, here + 1)));
                    }
                }
                Node::Test { code, k, yes, no } if far[*number] && place[yes] == here + 2 => {
                    program.push(ins(code, 1, 0, k));
                    program.push(ins(JA, 0, 0, over(no, here + 1)));
                }
                Node::Test { code, k, yes, no } if far[*number] => {
                    program.push(ins(code, 0, 1, k));
                    program.push(ins(JA, 0, 0, over(yes, here + 1)));
                    if place[no] != here + 2 {
                        program.push(ins(JA, 0, 0, over(no, here + 2)));
                    }
                }
                Node::Test { code, k, yes, no } => {
                    program.push(ins(code, over(yes, here) as u8, over(no, here) as u8, k));
                }
            }
        }
        program
    }
}
