//! The frame around every page.

use askama::Template;

use crate::{Kind, Rendered, assets, words};

/// An entry of the navigation.
#[derive(Debug, Clone)]
pub struct NavItem {
    /// Where it leads.
    pub href: &'static str,
    /// Its word.
    pub label: &'static str,
    /// A count beside it; empty for none.
    pub count: String,
}

/// The frame. The middle is HTML that the service rendered.
#[derive(Template)]
#[template(path = "layout.html")]
pub struct Layout<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// Name of the installation.
    pub site: &'a str,
    /// Version of the program.
    pub version: &'a str,
    /// The navigation.
    pub nav: &'a [NavItem],
    /// The entry that this page belongs to (its `href`).
    pub current: &'a str,
    /// Address of the event stream that this page listens to; empty for none.
    pub events: &'a str,
    /// Number of the newest change this page shows; the stream is resumed there.
    pub generation: u64,
    /// What operators must know, shown on every page.
    pub trouble: &'a [String],
    /// Address of the same as JSON; empty for none.
    pub json: &'a str,
    /// Moment it was made, Unix milliseconds.
    pub now_ms: i64,
    /// Class of the main element: `wide` uses the whole window.
    pub class: &'a str,
    /// The middle.
    pub body: &'a str,
}

impl Layout<'_> {
    /// The finished page.
    pub fn finish(&self) -> Rendered {
        let mut out = String::with_capacity(self.body.len() + 4096);
        // Writing to a string cannot fail.
        let _ = self.render_into(&mut out);
        Rendered::new(Kind::Html, out)
    }

    fn style(&self) -> &'static str {
        assets::style_url()
    }

    fn script(&self) -> &'static str {
        assets::script_url()
    }

    fn icon(&self) -> &'static str {
        assets::icon_url()
    }

    fn clock(&self) -> String {
        words::clock(self.now_ms)
    }

    fn moment(&self) -> String {
        words::rfc3339(self.now_ms)
    }
}
