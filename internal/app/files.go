package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// writePrivate writes a file that its owner alone may read, in place of any file
// there. One that has the text already is left alone, which lets a server start
// on a full disk.
func writePrivate(path, text string) error {
	err := os.Chmod(path, 0o600)
	if old, rerr := os.ReadFile(path); err == nil && rerr == nil && string(old) == text {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// makeFolder makes a folder that its owner alone may use, unless it is there, and
// flushes its name: after a power cut whoever was told 201 finds it.
func makeFolder(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(filepath.Clean(path)))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// below reports whether less than so many bytes are free on the disk that holds
// dir. What cannot be told counts as enough.
func below(dir string, bytes int64) bool {
	var disk syscall.Statfs_t
	if bytes == 0 || syscall.Statfs(dir, &disk) != nil {
		return false
	}
	return int64(disk.Bavail)*int64(disk.Bsize) < bytes
}
