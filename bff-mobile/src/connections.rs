//! Lists in pages, as Relay describes them.
//!
//! Not here: where a page begins and ends (`paging.rs`).

use async_graphql::{Object, SimpleObject};

use crate::{order::Order, paging::Page, restaurant::Restaurant};

/// Where a page stands in its list.
#[derive(SimpleObject, Clone)]
pub(crate) struct PageInfo {
    /// Whether there is more behind it.
    has_next_page: bool,
    /// Where it ends.
    end_cursor: Option<String>,
    /// Whether there is more in front of it.
    has_previous_page: bool,
    /// Where it begins.
    start_cursor: Option<String>,
}

impl PageInfo {
    fn of<T>(page: &Page<T>) -> Self {
        PageInfo {
            has_next_page: page.more,
            end_cursor: page.items.last().map(|(cursor, _)| cursor.clone()),
            has_previous_page: page.before,
            start_cursor: page.items.first().map(|(cursor, _)| cursor.clone()),
        }
    }
}

macro_rules! connection {
    ($connection:ident, $edge:ident, $edge_name:literal, $node:ty) => {
        /// A page of a list.
        pub(crate) struct $connection(pub(crate) Page<$node>);

        /// A page of a list.
        #[Object]
        impl $connection {
            /// The items with their cursors.
            async fn edges(&self) -> Vec<$edge<'_>> {
                self.0.items.iter().map(|(cursor, node)| $edge { cursor, node }).collect()
            }

            /// The items.
            async fn nodes(&self) -> Vec<&$node> {
                self.0.items.iter().map(|(_, node)| node).collect()
            }

            /// What is around the page.
            async fn page_info(&self) -> PageInfo {
                PageInfo::of(&self.0)
            }
        }

        /// An item of a page, and where the list goes on behind it.
        pub(crate) struct $edge<'a> {
            cursor: &'a str,
            node: &'a $node,
        }

        /// An item of a page, and where the list goes on behind it.
        #[Object(name = $edge_name)]
        impl $edge<'_> {
            /// Where the list goes on behind it.
            async fn cursor(&self) -> &str {
                self.cursor
            }

            /// The item.
            async fn node(&self) -> &$node {
                self.node
            }
        }
    };
}

connection!(OrderConnection, OrderEdge, "OrderEdge", Order);
connection!(RestaurantConnection, RestaurantEdge, "RestaurantEdge", Restaurant);
