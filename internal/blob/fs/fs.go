// Package fs keeps blobs as files below one folder: staged ones in uploads/,
// kept ones in blobs/<algorithm>/<first two digits>/<hex>.<upload>.
//
// Durable in the sense of package blob: contents are flushed before the rename
// that keeps them, and the folder is flushed after it. No name given by a caller
// can leave its subfolder, and no symbolic link in it can lead out of the folder.
package fs

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// Store is a folder of blobs.
type Store struct {
	root *os.Root

	mu      sync.Mutex
	durable map[string]bool // folders whose names this process has flushed
}

var _ blob.Store = (*Store)(nil)

const (
	stagedFolder = "uploads"
	keptFolder   = "blobs"
)

// Open opens the store in dir, making the folder if need be.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	s := &Store{root: root, durable: map[string]bool{}}
	if err := errors.Join(s.makeDir(stagedFolder), s.makeDir(keptFolder)); err != nil {
		root.Close()
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	return s, nil
}

// Close releases the folder.
func (s *Store) Close() error { return s.root.Close() }

// staged returns the file that an upload is staged in.
func staged(upload string) (string, error) {
	if !plain(upload) {
		return "", fmt.Errorf("%q is no name for an upload", upload)
	}
	return path.Join(stagedFolder, upload), nil
}

// plain reports whether a name is made of letters, digits and dashes.
func plain(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
}

// checkKept refuses a name that Keep cannot have returned. The folder holds more
// than blobs: other parts of the server keep what is theirs beside them.
func checkKept(file string) error {
	if path.Clean(file) != file || !strings.HasPrefix(file, keptFolder+"/") {
		return fault.New(fault.NotFound, "%q is no content of the blob folder", file)
	}
	return nil
}

// Stage implements blob.Store.
func (s *Store) Stage(upload string, at int64) (blob.Staged, error) {
	name, err := staged(upload)
	if err != nil {
		return nil, err
	}
	flags := os.O_WRONLY
	if at == 0 {
		flags |= os.O_CREATE
	}
	f, err := s.root.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, wrap(err)
	}
	if err := continueAt(f, at); err != nil {
		f.Close()
		return nil, err
	}
	return &stagedFile{store: s, file: f, isNew: at == 0}, nil
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

// stagedFile is not an *os.File, whose further methods would get round wrap.
type stagedFile struct {
	store *Store
	file  *os.File
	isNew bool // its name may not be durable yet
}

func (f *stagedFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	return n, wrap(err)
}

func (f *stagedFile) Sync() error {
	if err := f.file.Sync(); err != nil || !f.isNew {
		return wrap(err)
	}
	err := f.store.syncFile(stagedFolder)
	f.isNew = err != nil
	return err
}

func (f *stagedFile) Close() error { return wrap(f.file.Close()) }

// Keep implements blob.Store: fsync(file), rename(file), fsync(folder), after
// fsync(its parent) for a folder that this process has not used yet.
func (s *Store) Keep(upload string, dgst oci.Digest) (string, error) {
	from, err := staged(upload)
	if err != nil {
		return "", err
	}
	// A rename leaves the time of a file as it is, which may be days old.
	now := time.Now()
	if err := s.root.Chtimes(from, now, now); err != nil {
		return "", wrap(err)
	}
	if err := s.syncFile(from); err != nil {
		return "", err
	}
	hex := dgst.Encoded()
	dir := path.Join(keptFolder, dgst.Algorithm(), hex[:2])
	if err := s.makeDir(dir); err != nil {
		return "", err
	}
	file := path.Join(dir, hex+"."+upload)
	if err := s.root.Rename(from, file); err != nil {
		return "", wrap(err)
	}
	return file, s.syncFile(dir)
}

// makeDir makes dir, and flushes the folder that holds its name. It does so once
// also for a dir that is there: whoever made it may have ended before the flush.
func (s *Store) makeDir(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.makeDirLocked(dir)
}

func (s *Store) makeDirLocked(dir string) error {
	if dir == "." || s.durable[dir] {
		return nil
	}
	parent := path.Dir(dir)
	if err := s.makeDirLocked(parent); err != nil {
		return err
	}
	if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, iofs.ErrExist) {
		return wrap(err)
	}
	if err := s.syncFile(parent); err != nil {
		return err
	}
	s.durable[dir] = true
	return nil
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
func (s *Store) Discard(upload string) error {
	name, err := staged(upload)
	if err != nil {
		return err
	}
	return s.remove(name)
}

// Restage implements blob.Store.
func (s *Store) Restage(file, upload string) error {
	if err := checkKept(file); err != nil {
		return err
	}
	to, err := staged(upload)
	if err != nil {
		return err
	}
	return wrap(s.root.Rename(file, to))
}

// Remove implements blob.Store.
func (s *Store) Remove(file string) error {
	if err := checkKept(file); err != nil {
		return err
	}
	return s.remove(file)
}

func (s *Store) remove(name string) error {
	if err := s.root.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return wrap(err)
	}
	return nil
}

// Open implements blob.Store. The content is an *os.File, which a server can
// hand to the kernel.
func (s *Store) Open(file string) (io.ReadSeekCloser, error) {
	if err := checkKept(file); err != nil {
		return nil, err
	}
	f, err := s.root.Open(file)
	if err != nil {
		return nil, wrap(err)
	}
	return f, nil
}

// OpenStaged implements blob.Store.
func (s *Store) OpenStaged(upload string) (io.ReadCloser, error) {
	name, err := staged(upload)
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, wrap(err)
	}
	return f, nil
}

// Kept implements blob.Store.
func (s *Store) Kept() iter.Seq2[blob.File, error] {
	return func(yield func(blob.File, error) bool) {
		s.walk(keptFolder, 2, func(f blob.File, err error) bool {
			hex, upload, _ := strings.Cut(path.Base(f.Name), ".")
			return err == nil && (!plain(hex) || !plain(upload)) || yield(f, err) // Keep made no such name
		})
	}
}

// Uploads implements blob.Store.
func (s *Store) Uploads() iter.Seq2[blob.File, error] {
	return func(yield func(blob.File, error) bool) {
		s.walk(stagedFolder, 0, func(f blob.File, err error) bool {
			f.Name = path.Base(f.Name)
			return err == nil && !plain(f.Name) || yield(f, err)
		})
	}
}

// namesAtOnce is how many names of a folder are in memory at once.
const namesAtOnce = 256

// walk yields the files so many folders below dir, and reports whether yield wants
// more.
func (s *Store) walk(dir string, below int, yield func(blob.File, error) bool) bool {
	folder, err := s.root.Open(dir)
	if err != nil {
		yield(blob.File{}, wrap(err))
		return false
	}
	defer folder.Close()
	for {
		entries, err := folder.ReadDir(namesAtOnce)
		for _, entry := range entries {
			name := path.Join(dir, entry.Name())
			switch {
			case below > 0 && entry.IsDir():
				if !s.walk(name, below-1, yield) {
					return false
				}
			case below == 0 && entry.Type().IsRegular():
				info, err := s.root.Lstat(name)
				if errors.Is(err, iofs.ErrNotExist) {
					continue // it went meanwhile
				}
				if err != nil {
					yield(blob.File{}, wrap(err))
					return false
				}
				if !yield(blob.File{Name: name, Size: info.Size(), Changed: info.ModTime()}, nil) {
					return false
				}
			}
		}
		if err == io.EOF {
			return true
		}
		if err != nil {
			yield(blob.File{}, wrap(err))
			return false
		}
	}
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
