// Package fs keeps blobs as files below one folder: staged ones in uploads/,
// kept ones in blobs/<algorithm>/<first two digits>/<hex>.<upload>.
//
// Durable in the sense of package blob: contents are flushed before the rename
// that keeps them, and the folder is flushed after it. No name given by a caller
// can leave the folder.
package fs

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"syscall"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// Store is a folder of blobs.
type Store struct {
	root *os.Root
}

var _ blob.Store = (*Store)(nil)

// Open opens the store in dir, making the folder if need be.
func Open(dir string) (*Store, error) {
	for _, sub := range []string{"", "uploads", "blobs"} {
		if err := os.MkdirAll(path.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("blob folder: %w", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	return &Store{root}, nil
}

// Close releases the folder.
func (s *Store) Close() error { return s.root.Close() }

func staged(upload string) string { return path.Join("uploads", upload) }

// Stage implements blob.Store.
func (s *Store) Stage(upload string, at int64) (blob.Staged, error) {
	flags := os.O_WRONLY
	if at == 0 {
		flags |= os.O_CREATE
	}
	f, err := s.root.OpenFile(staged(upload), flags, 0o600)
	if err != nil {
		return nil, wrap(err)
	}
	if err := continueAt(f, at); err != nil {
		f.Close()
		return nil, err
	}
	return stagedFile{f}, nil
}

func continueAt(f *os.File, at int64) error {
	info, err := f.Stat()
	if err != nil {
		return wrap(err)
	}
	if info.Size() < at {
		return fault.New(fault.NotFound, "only %d of %d staged bytes are left", info.Size(), at)
	}
	if info.Size() > at {
		if err := f.Truncate(at); err != nil {
			return wrap(err)
		}
	}
	_, err = f.Seek(at, io.SeekStart)
	return wrap(err)
}

type stagedFile struct{ *os.File }

func (f stagedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, wrap(err)
}

func (f stagedFile) Sync() error { return wrap(f.File.Sync()) }

// Keep implements blob.Store: fsync(file), rename(file), fsync(folder), and for
// a new folder fsync(its parent) as well.
func (s *Store) Keep(upload string, dgst oci.Digest) (string, error) {
	if err := s.syncFile(staged(upload)); err != nil {
		return "", err
	}
	hex := dgst.Encoded()
	dir := path.Join("blobs", dgst.Algorithm(), hex[:2])
	if err := s.makeDir(dir); err != nil {
		return "", err
	}
	file := path.Join(dir, hex+"."+upload)
	if err := s.root.Rename(staged(upload), file); err != nil {
		return "", wrap(err)
	}
	return file, s.syncFile(dir)
}

// makeDir makes dir and flushes each folder in which it made one.
func (s *Store) makeDir(dir string) error {
	err := s.root.Mkdir(dir, 0o700)
	switch {
	case err == nil:
		return s.syncFile(path.Dir(dir))
	case errors.Is(err, iofs.ErrExist):
		return nil
	case errors.Is(err, iofs.ErrNotExist) && path.Dir(dir) != ".":
		if err := s.makeDir(path.Dir(dir)); err != nil {
			return err
		}
		return s.makeDir(dir)
	}
	return wrap(err)
}

// syncFile flushes a file or folder.
func (s *Store) syncFile(name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return wrap(err)
	}
	return wrap(errors.Join(f.Sync(), f.Close()))
}

// Discard implements blob.Store.
func (s *Store) Discard(upload string) error { return s.remove(staged(upload)) }

// Remove implements blob.Store.
func (s *Store) Remove(file string) error { return s.remove(file) }

func (s *Store) remove(name string) error {
	if err := s.root.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return wrap(err)
	}
	return nil
}

// Open implements blob.Store. The content is an *os.File, which a server can
// hand to the kernel.
func (s *Store) Open(file string) (io.ReadSeekCloser, error) {
	f, err := s.root.Open(file)
	if err != nil {
		return nil, wrap(err)
	}
	return f, nil
}

// OpenStaged implements blob.Store.
func (s *Store) OpenStaged(upload string) (io.ReadCloser, error) {
	return s.Open(staged(upload))
}

// wrap gives an error of the file system its meaning.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Wrap(err, fault.NoSpace, "the server's disk is full: nothing was changed; free space in its data folder and try again")
	case errors.Is(err, iofs.ErrNotExist):
		return fault.Wrap(err, fault.NotFound, "the content is not in the blob folder")
	case errors.Is(err, syscall.EROFS), errors.Is(err, iofs.ErrPermission):
		return fault.Wrap(err, fault.Unavailable, "the registry takes no changes at the moment: its data folder cannot be written; the server's log says why")
	}
	return err
}
