//! Functions OVER a window. Aggregates can stand there too.

use super::FunctionDoc;

pub(super) const ROWS: &[FunctionDoc] = &[
    FunctionDoc::window(
        "ROW_NUMBER",
        "ROW_NUMBER()",
        "The row's number in its window, from 1.",
        "ROW_NUMBER() OVER (ORDER BY __time)",
        "1, 2, 3, 4, 5",
    ),
    FunctionDoc::window(
        "RANK",
        "RANK()",
        "The number of the first row that is equal in the window's order.",
        "RANK() OVER (ORDER BY n)",
        "1, 2, 3, 4, 4",
    ),
    FunctionDoc::window(
        "DENSE_RANK",
        "DENSE_RANK()",
        "As RANK, without leaving out numbers.",
        "DENSE_RANK() OVER (ORDER BY n)",
        "1, 2, 3, 4, 4",
    ),
    FunctionDoc::window(
        "PERCENT_RANK",
        "PERCENT_RANK()",
        "The rank as a share from 0 to 1.",
        "PERCENT_RANK() OVER (ORDER BY n)",
        "0.0, 0.25, 0.5, 0.75, 0.75",
    ),
    FunctionDoc::window(
        "CUME_DIST",
        "CUME_DIST()",
        "The share of rows that are not after this one.",
        "CUME_DIST() OVER (ORDER BY n)",
        "0.2, 0.4, 0.6, 1.0, 1.0",
    ),
    FunctionDoc::window(
        "NTILE",
        "NTILE(tiles)",
        "The number of the tile, when the window is cut into so many of nearly the same size.",
        "NTILE(2) OVER (ORDER BY __time)",
        "1, 1, 1, 2, 2",
    ),
    FunctionDoc::window(
        "LAG",
        "LAG(x [, rows [, default]])",
        "The value of an earlier row.",
        "LAG(x) OVER (ORDER BY __time)",
        "null, 1.5, 2.5, 4.0, -1.0",
    ),
    FunctionDoc::window(
        "LEAD",
        "LEAD(x [, rows [, default]])",
        "The value of a later row.",
        "LEAD(x) OVER (ORDER BY __time)",
        "2.5, 4.0, -1.0, 0.5, null",
    ),
    FunctionDoc::window(
        "FIRST_VALUE",
        "FIRST_VALUE(x)",
        "The value of the frame's first row.",
        "FIRST_VALUE(x) OVER (ORDER BY __time)",
        "1.5, 1.5, 1.5, 1.5, 1.5",
    ),
    FunctionDoc::window(
        "LAST_VALUE",
        "LAST_VALUE(x)",
        "The value of the frame's last row.",
        "LAST_VALUE(x) OVER (ORDER BY __time ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
        "0.5, 0.5, 0.5, 0.5, 0.5",
    ),
];
