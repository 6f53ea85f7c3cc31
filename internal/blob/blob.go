// Package blob says what a store for the contents of large blobs has to do.
//
// A store owns bytes: staged ones, which an upload is still adding to, and kept
// ones, which never change. Which digest a kept file holds, and which repository
// may see it, is on record in the database, in the hands of package registry.
// Invariants every store keeps: what Keep returned a name for survives a power
// failure, whole; a name is never used for two contents.
//
// Stores: blob/fs (a folder). Package blobtest holds the behaviour that each
// must show.
package blob

import (
	"io"
	"iter"
	"time"

	"github.com/dockbell/dockbell/internal/oci"
)

// Store keeps the contents of blobs that are too large for the database.
// Its methods may be called from many goroutines, but for one staged content at
// a time by one only. Beside the errors named, each returns fault.NoSpace when
// there is no room.
type Store interface {
	// Stage opens staged content for adding bytes at offset at; bytes beyond
	// it are dropped, and 0 makes new content. upload is a name of the
	// caller's choosing, made of letters, digits and dashes. It fails with
	// fault.NotFound when fewer than at bytes are staged.
	Stage(upload string, at int64) (Staged, error)

	// Keep makes staged content permanent and returns the name to open it by.
	// When it returns, the bytes and the name are durable.
	Keep(upload string, dgst oci.Digest) (file string, err error)

	// Restage undoes Keep: the content of file is staged again, as upload, and
	// file is no more. It fails with fault.NotFound.
	Restage(file, upload string) error

	// Discard drops staged content; none is no error.
	Discard(upload string) error

	// Open opens kept content, positioned at its start. It fails with
	// fault.NotFound.
	Open(file string) (io.ReadSeekCloser, error)

	// OpenStaged opens staged content for reading. It fails with
	// fault.NotFound.
	OpenStaged(upload string) (io.ReadCloser, error)

	// Remove deletes kept content; none is no error.
	Remove(file string) error

	// Kept returns what is kept, in no order. What is kept or removed meanwhile
	// may or may not be among it. An error ends it.
	Kept() iter.Seq2[File, error]

	// Uploads is Kept for staged content, with the names of uploads.
	Uploads() iter.Seq2[File, error]
}

// File is a content that is kept or staged.
type File struct {
	Name string
	Size int64 // bytes

	// Changed is when bytes were last added, or when it was kept: whoever keeps a
	// content and puts its name on record later has this moment to go by.
	Changed time.Time
}

// Staged is content that an upload is adding to.
type Staged interface {
	io.Writer

	// Sync makes what was written durable.
	Sync() error

	io.Closer
}
