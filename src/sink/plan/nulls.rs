//! Documents without their nulls, where the settings want that. Pure.

use super::{
    super::{body::Body, shape::without_nulls},
    Error,
};

/// The body without its nulls, if `is_wanted`.
pub(super) fn without(body: Body, is_wanted: bool) -> Result<Body, Error> {
    match is_wanted {
        true => without_nulls(body.document()).map(Body::whole).map_err(Error::Malformed),
        false => Ok(body),
    }
}
