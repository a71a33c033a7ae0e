//! Scripts, tables and properties over [`super::Ceremony::step`].
