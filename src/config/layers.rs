//! Defaults < file < environment, merged into one tree, with the place of every value.
//!
//! What comes out has the shape of the schema: a value that was not of its type has become a boolean stand-in, and a
//! problem says so. Whoever reads the tree therefore never reports such a value again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use figment::{
    Figment,
    providers::Serialized,
    value::{Dict, Value},
};

use super::{
    Place, Problem, Problems, environment, file,
    problem::KeyPath,
    reference,
    schema::{self, ROOT},
};

/// Where values come from.
#[derive(Default)]
pub(super) struct Places(BTreeMap<KeyPath, Place>);

/// The configuration as written, layers merged.
pub(super) struct Layers {
    /// References are not expanded yet.
    pub(super) tree: Dict,
    pub(super) places: Places,
    pub(super) problems: Vec<Problem>,
}

/// The tree after expansion.
pub(super) struct Expanded {
    pub(super) tree: Dict,
    /// The values that came through a reference: never to be shown.
    pub(super) hidden: BTreeSet<KeyPath>,
}

impl Places {
    /// Records the place of a value, which replaces what was there with all that it held.
    pub(super) fn set(&mut self, path: &KeyPath, place: Place) {
        self.0.retain(|known, _| !known.starts_with(path));
        self.0.insert(path.clone(), place);
    }

    /// The place of exactly this value or table; `None` where only something inside of it was given.
    pub(super) fn exactly(&self, path: &KeyPath) -> Option<&Place> {
        self.0.get(path)
    }

    /// The place of the value, or of the nearest table around it.
    pub(super) fn of(&self, path: &KeyPath) -> Place {
        let mut path = Some(path.clone());
        while let Some(here) = path {
            if let Some(place) = self.0.get(&here) {
                return place.clone();
            }
            path = here.parent();
        }
        Place::Whole
    }
}

/// Stands where a value was that a problem has been reported for.
pub(super) fn reported() -> Value {
    Value::from(false)
}

/// Reads the text of the file at `path`, and the variables. The error is one that cannot be read as TOML at all.
pub(super) fn read(
    path: &Path,
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Layers, Problems> {
    let whole = |problem| Problems::new(path.into(), vec![problem]);
    let mut layers = Layers { tree: Dict::new(), places: Places::default(), problems: Vec::new() };
    let from_file = file::walk(text, &mut layers.places, &mut layers.problems).map_err(whole)?;
    let from_variables = environment::walk(variables, &from_file, &mut layers.places, &mut layers.problems);
    let file = Figment::from(Serialized::defaults(&from_file));
    let given = from_variables.iter().fold(file, |layers, dict| layers.merge(Serialized::defaults(dict)));
    let given: Dict = given.extract().expect("a tree of values is read back as one");
    let defaults = schema::defaults(ROOT, &given);
    let merged = Figment::from(Serialized::defaults(&defaults)).merge(Serialized::defaults(&given));
    layers.tree = merged.extract().expect("a tree of values is read back as one");
    Ok(layers)
}

impl Layers {
    /// Replaces references by what they refer to.
    pub(super) fn expand(&mut self, variables: &BTreeMap<String, String>) -> Expanded {
        let mut tree = Value::from(self.tree.clone());
        let mut hidden = BTreeSet::new();
        self.expand_value(&mut tree, &KeyPath::default(), variables, &mut hidden);
        Expanded { tree: tree.into_dict().expect("the root was made as a table"), hidden }
    }

    fn expand_value(
        &mut self,
        value: &mut Value,
        path: &KeyPath,
        variables: &BTreeMap<String, String>,
        hidden: &mut BTreeSet<KeyPath>,
    ) {
        match value {
            Value::Dict(_, dict) => {
                for (key, value) in dict {
                    self.expand_value(value, &path.child(key.as_str()), variables, hidden);
                }
            }
            Value::Array(_, elements) => {
                for (index, element) in elements.iter_mut().enumerate() {
                    self.expand_value(element, &path.element(index), variables, hidden);
                }
            }
            Value::String(_, text) => {
                if reference::is_reference(text) {
                    hidden.insert(path.clone());
                }
                match reference::expand(text, variables) {
                    Ok(expanded) => *text = expanded,
                    Err(invalid) => {
                        let place = self.places.of(path);
                        self.problems.push(Problem {
                            place,
                            path: path.clone(),
                            message: invalid.to_string(),
                        });
                        *value = reported();
                    }
                }
            }
            _ => {}
        }
    }
}
