//! `apipb.MaintnerService`, what a leader of a mutation log answers about its corpus: messages and names (`spec/maintner.md` §6.3).
//!
//! The messages are written by hand, since there are fifteen of them and they do not change; field numbers and types are what peers written in Go have.
//!
//! ```
//! use prost::Message as _;
//! use protocol_maintapi::{HasAncestorResponse, Method};
//!
//! assert_eq!(Method::of_path("/apipb.MaintnerService/GetRef"), Some(Method::GetRef));
//! assert_eq!(Method::GetRef.path(), "/apipb.MaintnerService/GetRef");
//! assert_eq!(HasAncestorResponse { has_ancestor: true, unknown_commit: false }.encode_to_vec(), [0x08, 0x01]);
//! ```

mod messages;

pub use messages::*;

/// Full name of the service.
pub const SERVICE: &str = "apipb.MaintnerService";

/// What the paths of all its methods begin with.
pub const PATH_PREFIX: &str = "/apipb.MaintnerService/";

/// What the content types of all gRPC requests begin with.
pub const CONTENT_TYPE: &str = "application/grpc";

/// A method of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// [`HasAncestorRequest`] → [`HasAncestorResponse`].
    HasAncestor,
    /// [`GetRefRequest`] → [`GetRefResponse`].
    GetRef,
    /// [`GoFindTryWorkRequest`] → [`GoFindTryWorkResponse`].
    GoFindTryWork,
    /// [`ListGoReleasesRequest`] → [`ListGoReleasesResponse`].
    ListGoReleases,
    /// [`DashboardRequest`] → [`DashboardResponse`].
    GetDashboard,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 5] = [Method::HasAncestor, Method::GetRef, Method::GoFindTryWork, Method::ListGoReleases, Method::GetDashboard];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Method::HasAncestor => "HasAncestor",
            Method::GetRef => "GetRef",
            Method::GoFindTryWork => "GoFindTryWork",
            Method::ListGoReleases => "ListGoReleases",
            Method::GetDashboard => "GetDashboard",
        }
    }

    /// The path that is asked for.
    pub const fn path(self) -> &'static str {
        match self {
            Method::HasAncestor => "/apipb.MaintnerService/HasAncestor",
            Method::GetRef => "/apipb.MaintnerService/GetRef",
            Method::GoFindTryWork => "/apipb.MaintnerService/GoFindTryWork",
            Method::ListGoReleases => "/apipb.MaintnerService/ListGoReleases",
            Method::GetDashboard => "/apipb.MaintnerService/GetDashboard",
        }
    }

    /// The method of a path; `None` if the service has no such method.
    pub fn of_path(path: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.path() == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_of_names() {
        assert_eq!(PATH_PREFIX, format!("/{SERVICE}/"));
        for method in Method::ALL {
            assert_eq!(method.path(), format!("{PATH_PREFIX}{}", method.name()));
            assert_eq!(Method::of_path(method.path()), Some(method));
        }
        for path in ["", "/", PATH_PREFIX, "/apipb.MaintnerService/getref", "/apipb.MaintnerService/GetRef/", "apipb.MaintnerService/GetRef"] {
            assert_eq!(Method::of_path(path), None, "{path}");
        }
    }
}
