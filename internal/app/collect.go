package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/collect"
	"github.com/dockbell/dockbell/internal/registry"
)

// firstCollection is how long after the start the first collection may begin by
// itself: a server that has just started has more urgent things to do.
const firstCollection = 10 * time.Minute

// openCollections opens what removes what nothing needs any more.
func (s *Server) openCollections(ctx context.Context) (err error) {
	s.collections, err = collect.Open(ctx, collect.Options{
		DB: s.db, Blobs: s.blobs, Log: s.log, Contents: s.collectContents, Owners: []collect.Owner{s.registry, s.charts}, Foreign: s.foreignFolder(),
		Every: s.cfg.CollectEvery, First: firstCollection, Grace: s.cfg.CollectGrace,
	})
	if err == nil {
		s.collections.Start()
	}
	return err
}

// collectContents has package registry do its part of a collection.
func (s *Server) collectContents(ctx context.Context, how collect.How) error {
	_, err := s.registry.Collect(ctx, registry.Collecting{
		Grace: how.Grace, DryRun: how.DryRun, Foreign: how.Foreign,
		Step: func(ctx context.Context, so registry.Collected) error { return how.Step(ctx, collect.Contents(so)) },
	})
	return err
}

// foreignFolder reports whether the names of the data folder's files may be in another
// database than this one: with that it was first used. Whoever tries another
// --database on a folder must not lose the files of the first.
func (s *Server) foreignFolder() bool {
	path := filepath.Join(s.cfg.Data, "server-id")
	known, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = writePrivate(path, s.id+"\n")
		known = []byte(s.id)
	}
	if err != nil {
		s.log.Warn("it is not known which database the data folder belongs to: files that no row names are left alone until the next start", "error", err)
		return true
	}
	return strings.TrimSpace(string(known)) != s.id
}
