#![allow(clippy::unwrap_used, clippy::panic)]
//! What nobody can time from outside.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use clap::Parser as _;
use norikv_core::{
    Call, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Entry, Get, GetMany,
    Page, Put, PutResult, Result, Scan, Status, Store, StoreRef,
};
use norikv_embedded::{EmbeddedStore, Settings};

use super::{Finish, STILL_WRITTEN, ends::Ends, work};
use crate::args::{Cli, Command};

/// A target, at which somebody writes into the source once its values are read: while the only page of the source is compared.
struct Watched {
    target: EmbeddedStore,
    source: StoreRef,
    done: AtomicBool,
}

#[async_trait]
impl Store for Watched {
    async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        if !request.keys_only
            && !request.range.start.starts_with(b"\0")
            && !self.done.swap(true, Ordering::SeqCst)
        {
            self.source.put(Put::new("late", "write"), call).await?;
        }
        self.target.scan(request, call).await
    }

    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>> {
        self.target.get(request, call).await
    }

    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        self.target.get_many(request, call).await
    }

    async fn put(&self, request: Put, call: Call) -> Result<PutResult> {
        self.target.put(request, call).await
    }

    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult> {
        self.target.delete(request, call).await
    }

    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        self.target.delete_range(request, call).await
    }

    async fn count(&self, request: Count, call: Call) -> Result<CountResult> {
        self.target.count(request, call).await
    }

    async fn status(&self, call: Call) -> Result<Status> {
        self.target.status(call).await
    }

    async fn close(&self) -> Result<()> {
        self.target.close().await
    }
}

#[tokio::test]
async fn a_write_while_the_last_page_is_compared_is_one_after_the_signal() {
    let source: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
    source.put(Put::new("a", "1"), Call::default()).await.unwrap();
    let target = EmbeddedStore::memory(Settings::default()).unwrap();
    let target = Arc::new(Watched { target, source: Arc::clone(&source), done: AtomicBool::new(false) });
    let ends = Ends {
        from: source,
        to: Arc::clone(&target) as StoreRef,
        from_name: "from".to_owned(),
        to_name: "to".to_owned(),
        knows_reasons: true,
        to_cluster: false,
    };
    let cli = Cli::try_parse_from(["norikv", "copy", "file:from", "file:to", "--follow", "--quiet"]).unwrap();
    let Command::Copy(args) = cli.command else { panic!("not copy") };
    let finish = Finish::default();
    finish.asked.notify_one();
    assert_eq!(work::run(&args, &ends, &finish).await.unwrap(), STILL_WRITTEN);
    assert!(target.done.load(Ordering::SeqCst));
    let get = Get { key: "late".into(), consistency: Default::default() };
    assert!(target.get(get, Call::default()).await.unwrap().is_some());
}
