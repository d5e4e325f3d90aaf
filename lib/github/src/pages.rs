//! Lists that come in pages.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Ask, Got, Shape, Subject};
use crate::{Client, Error, Read, Time};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it, in GitHub's order.
    pub items: Vec<T>,
    /// GitHub's time of the answer; when GitHub does not say, ours before the question. A list is complete as of the date of its *first* page.
    pub date: Time,
    /// It is as it was when it was last asked for.
    pub unmodified: bool,
    /// There is no page after it.
    pub last: bool,
}

/// The pages of a list, asked for one by one. GitHub's own link to the next page is followed, whether it has a page number or a cursor; after the last page
/// there is nothing, whatever its cursor says.
pub struct Pages<T> {
    client: Client,
    subject: Subject,
    next: Option<String>,
    conditional: bool,
    later_conditional: bool,
    seen: HashSet<String>,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("next", &self.next).finish_non_exhaustive()
    }
}

impl<T: Read + Serialize + DeserializeOwned> Pages<T> {
    pub(crate) fn new(client: Client, subject: Subject, first: String) -> Pages<T> {
        let seen = HashSet::from([first.clone()]);
        Pages { client, subject, next: Some(first), conditional: true, later_conditional: true, seen, of: PhantomData }
    }

    pub(crate) fn only_first_is_conditional(mut self) -> Self {
        self.later_conditional = false;
        self
    }

    /// Asks without saying what is known already: the answer is whole, and counts.
    #[must_use]
    pub fn unconditional(mut self) -> Self {
        (self.conditional, self.later_conditional) = (false, false);
        self
    }

    /// The next page; `None` after the last one. After an error the same page is asked for again.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn next(&mut self) -> Result<Option<Page<T>>, Error> {
        let Some(url) = self.next.clone() else { return Ok(None) };
        let Got { items, next, date, unmodified } =
            self.client.ask(&Ask { url: &url, shape: Shape::List, conditional: self.conditional }, &self.subject).await?;
        if let Some(next) = &next
            && !self.seen.insert(next.clone())
        {
            return Err(Error::Malformed { url, what: format!("its pages go round in a circle: {next} comes again") });
        }
        self.conditional = self.later_conditional;
        self.next = next;
        Ok(Some(Page { items, date, unmodified, last: self.next.is_none() }))
    }

    /// All pages at once, for lists that are known to be short: the items, and the date of the first page.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn all(mut self) -> Result<(Vec<T>, Time), Error> {
        let mut all = Vec::new();
        let mut date = None;
        while let Some(page) = self.next().await? {
            all.extend(page.items);
            date.get_or_insert(page.date);
        }
        Ok((all, date.unwrap_or(Time::from_seconds(0))))
    }
}
