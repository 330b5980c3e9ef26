//! Every file call of journal, staging and local copies.
