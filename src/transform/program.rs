//! The rules of one namespace, merged into one automaton over the names on a path.
//!
//! A state says what happens to the value that stands there, and its edges lead on by name. It is a tree of the rules'
//! paths, but for one thing: in a path of an update, such as `a.0.b`, a number may be an array's index, which paths of
//! rules do not mention, or a field's name. Where a rule has such a name both are followed: a state then stands for
//! several places of the tree, and does what is strictest in any of them.
//!
//! Rules are merged, not chained: every path means the document as it came. What several rules include is what all of
//! them include; whatever goes or is masked by one rule is gone or masked; of two masks redaction counts; of two names
//! or constants the later one.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{
    Constants, Path, Prepared,
    mask::{Hasher, Mask},
};

/// What the walks need.
#[derive(Debug)]
pub(super) struct Program {
    states: Vec<State>,
    pub(super) hashers: Vec<Hasher>,
    /// Those of the rules in their order; a later one counts.
    pub(super) constants: Vec<Constant>,
    pub(super) has_renames: bool,
    pub(super) has_hashes: bool,
}

/// A field that is set.
#[derive(Debug)]
pub(super) struct Constant {
    pub(super) name: Box<[u8]>,
    pub(super) kind: u8,
    pub(super) value: Box<[u8]>,
}

/// A place in a document, and all places in the arrays there.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) action: Action,
    /// Whether fields that no edge names stay. Where not, values without fields become null.
    pub(super) keeps_others: bool,
    edges: Vec<Edge>,
    /// Edges by a number that may be an index.
    ambiguous: Vec<Edge>,
    /// Names that renamed fields get, by rising precedence.
    pub(super) targets: Vec<Target>,
}

/// What happens to a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Action {
    /// Stays; the edges say what happens in it.
    #[default]
    Walk,
    /// Goes with its name.
    Drop,
    /// Is masked.
    Mask(Mask),
}

/// The way to a field.
#[derive(Debug)]
pub(super) struct Edge {
    name: Box<[u8]>,
    state: usize,
    /// The field's new name.
    pub(super) rename: Option<Box<[u8]>>,
}

/// A renamed field.
#[derive(Debug)]
pub(super) struct Target {
    /// What it is called afterwards.
    pub(super) name: Box<[u8]>,
    /// What it was called.
    pub(super) source: Box<[u8]>,
}

/// A step that was taken by the name of a path.
pub(super) struct Step<'p> {
    /// Where it leads; `None` where no rule names anything beyond.
    pub(super) state: Option<&'p State>,
    pub(super) rename: Option<&'p [u8]>,
}

impl State {
    pub(super) fn edge(&self, name: &[u8]) -> Option<&Edge> {
        self.edges.iter().find(|edge| *edge.name == *name)
    }

    /// Whether the value stays just as it is.
    pub(super) fn is_untouched(&self) -> bool {
        self.action == Action::Walk && self.edges.is_empty() && self.keeps_others
    }
}

impl Program {
    /// `None` where the rules change nothing in a document.
    pub(super) fn compile(rules: &[&Prepared]) -> Option<Self> {
        let mut tree = Tree::default();
        let mut hashers = Vec::new();
        let mut constants: Vec<Constant> = Vec::new();
        for Prepared { rule, hasher } in rules {
            tree.exclude(&rule.exclude);
            for path in &rule.redact {
                tree.node(path).mask = Some(Mask::Redact);
            }
            if let (Some(hash), Some(hasher)) = (&rule.hash, hasher) {
                for path in &hash.paths {
                    tree.node(path).mask.get_or_insert(Mask::Hash(hashers.len()));
                }
                hashers.push(hasher.clone());
            }
            for rename in &rule.rename {
                let order = tree.next_order();
                tree.node(&rename.path).rename = Some((order, rename.name.clone()));
            }
            add_constants(rule.set.as_ref(), &mut constants);
        }
        tree.include(rules.iter().map(|prepared| &prepared.rule.include[..]).filter(|list| !list.is_empty()));
        if !tree.has_includes && tree.nodes.len() == 1 && constants.is_empty() {
            return None;
        }
        let states = Builder::new(&tree).build();
        Some(Self {
            has_renames: states.iter().any(|state| !state.targets.is_empty()),
            has_hashes: states.iter().any(|state| matches!(state.action, Action::Mask(Mask::Hash(_)))),
            states,
            hashers,
            constants,
        })
    }

    /// The state of the document itself.
    pub(super) fn root(&self) -> &State {
        &self.states[0]
    }

    pub(super) fn target(&self, edge: &Edge) -> &State {
        &self.states[edge.state]
    }

    /// The step by a field's name.
    pub(super) fn step_by_name<'p>(&'p self, state: &'p State, name: &[u8]) -> Step<'p> {
        self.step_over(state.edge(name))
    }

    /// The step by a name that may be an array's index.
    pub(super) fn step_by_any<'p>(&'p self, state: &'p State, name: &[u8]) -> Step<'p> {
        if !is_number(name) {
            return self.step_by_name(state, name);
        }
        match state.ambiguous.iter().find(|edge| *edge.name == *name) {
            None => Step { state: Some(state), rename: None },
            found => self.step_over(found),
        }
    }

    fn step_over<'p>(&'p self, edge: Option<&'p Edge>) -> Step<'p> {
        Step {
            state: edge.map(|edge| self.target(edge)),
            rename: edge.and_then(|edge| edge.rename.as_deref()),
        }
    }
}

fn add_constants(set: Option<&Constants>, constants: &mut Vec<Constant>) {
    for element in set.into_iter().flat_map(|set| set.document().elements()) {
        let element = element.expect("the reader wrote this document");
        constants.retain(|constant| *constant.name != *element.name);
        let (name, value) = (element.name.into(), element.value.into());
        constants.push(Constant { name, kind: element.kind, value });
    }
}

fn is_number(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

/// The rules' paths.
#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
    has_includes: bool,
    renames: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<Box<[u8]>, usize>,
    is_excluded: bool,
    mask: Option<Mask>,
    /// With the place among all renames.
    rename: Option<(usize, Box<[u8]>)>,
    inclusion: Inclusion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Inclusion {
    /// Not on the list, where there is one.
    #[default]
    Outside,
    /// Something below is on the list.
    OnTheWay,
    /// On the list, or below what is.
    Inside,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], has_includes: false, renames: 0 }
    }
}

impl Tree {
    fn node(&mut self, path: &Path) -> &mut Node {
        let mut at = 0;
        for step in path.steps() {
            at = self.child(at, step);
        }
        &mut self.nodes[at]
    }

    fn child(&mut self, at: usize, name: &[u8]) -> usize {
        if let Some(child) = self.nodes[at].children.get(name) {
            return *child;
        }
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        self.nodes[at].children.insert(name.into(), child);
        child
    }

    fn next_order(&mut self) -> usize {
        self.renames += 1;
        self.renames
    }

    fn exclude(&mut self, paths: &[Path]) {
        for path in paths {
            self.node(path).is_excluded = true;
        }
    }

    /// Marks what every list covers. Without a list all is inside.
    fn include<'r>(&mut self, lists: impl Iterator<Item = &'r [Path]>) {
        let mut covered: Option<Vec<&[Box<[u8]>]>> = None;
        for list in lists {
            let steps = list.iter().map(Path::steps);
            covered = Some(match covered {
                None => steps.collect(),
                // Of a path on one list and one above it on the other, the longer one is covered by both.
                Some(before) => steps
                    .flat_map(|a| before.iter().map(move |b| (a, *b)))
                    .filter_map(
                        |(a, b)| {
                            if a.starts_with(b) { Some(a) } else { b.starts_with(a).then_some(b) }
                        },
                    )
                    .collect(),
            });
        }
        let Some(covered) = covered else {
            return self.mark_inside(0);
        };
        self.has_includes = true;
        self.nodes[0].inclusion = Inclusion::OnTheWay;
        let id = Path::parse("_id").expect("a path");
        let mut ends = vec![];
        for steps in covered.into_iter().chain([id.steps()]) {
            let mut at = 0;
            for step in steps {
                at = self.child(at, step);
                self.nodes[at].inclusion = self.nodes[at].inclusion.max(Inclusion::OnTheWay);
            }
            ends.push(at);
        }
        for end in ends {
            self.mark_inside(end);
        }
    }

    /// Paths may come from the configuration, so their length bounds the recursion.
    fn mark_inside(&mut self, at: usize) {
        self.nodes[at].inclusion = Inclusion::Inside;
        let children: Vec<_> = self.nodes[at].children.values().copied().collect();
        for child in children {
            self.mark_inside(child);
        }
    }
}

/// Makes states of sets of nodes.
struct Builder<'t> {
    tree: &'t Tree,
    numbers: HashMap<Vec<usize>, usize>,
    waiting: VecDeque<Vec<usize>>,
}

impl<'t> Builder<'t> {
    fn new(tree: &'t Tree) -> Self {
        Self { tree, numbers: HashMap::new(), waiting: VecDeque::new() }
    }

    fn build(mut self) -> Vec<State> {
        let mut states = Vec::new();
        self.number(vec![0]);
        while let Some(set) = self.waiting.pop_front() {
            states.push(self.state(&set));
        }
        states
    }

    /// The number of the state of these nodes. States are made in the order of their numbers.
    fn number(&mut self, mut set: Vec<usize>) -> usize {
        set.sort_unstable();
        set.dedup();
        let next = self.numbers.len();
        if let Some(number) = self.numbers.get(&set) {
            return *number;
        }
        self.numbers.insert(set.clone(), next);
        self.waiting.push_back(set);
        next
    }

    fn action(&self, set: &[usize]) -> Action {
        let nodes = || set.iter().map(|at| &self.tree.nodes[*at]);
        let masks = || nodes().filter_map(|node| node.mask);
        if nodes().any(|node| node.is_excluded) || nodes().all(|node| node.inclusion == Inclusion::Outside) {
            Action::Drop
        } else if let Some(mask) = masks().find(|mask| *mask == Mask::Redact).or_else(|| masks().next()) {
            Action::Mask(mask)
        } else {
            Action::Walk
        }
    }

    fn state(&mut self, set: &[usize]) -> State {
        let mut state = State {
            action: self.action(set),
            keeps_others: set.iter().any(|at| self.tree.nodes[*at].inclusion == Inclusion::Inside),
            ..State::default()
        };
        if state.action != Action::Walk {
            return state;
        }
        let tree = self.tree;
        let mut by_name: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (name, child) in set.iter().flat_map(|at| &tree.nodes[*at].children) {
            by_name.entry(name).or_default().push(*child);
        }
        let mut targets = Vec::new();
        for (name, children) in by_name {
            let rename = children.iter().filter_map(|at| tree.nodes[*at].rename.as_ref()).max();
            if let Some((order, new_name)) = rename.filter(|_| self.action(&children) != Action::Drop) {
                targets.push((*order, Target { name: new_name.clone(), source: name.into() }));
            }
            let rename = rename.map(|(_, name)| name.clone());
            if is_number(name) {
                let both = children.iter().chain(set).copied().collect();
                let edge = Edge { name: name.into(), state: self.number(both), rename: rename.clone() };
                state.ambiguous.push(edge);
            }
            state.edges.push(Edge { name: name.into(), state: self.number(children), rename });
        }
        targets.sort_by_key(|(order, _)| *order);
        state.targets = targets.into_iter().map(|(_, target)| target).collect();
        state
    }
}
