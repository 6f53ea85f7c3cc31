package registry

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// inlineLimit is the size up to which contents live in the database, where they
// ride on its group commit; in bytes.
const inlineLimit = 64 << 10

// uploadLifetime is how long a session may be continued after it was started.
const uploadLifetime = 7 * 24 * time.Hour

// OpenBlob implements oci.Reader.
func (h *handle) OpenBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) (*oci.Blob, error) {
	for tried := ""; ; {
		var c contentRow
		err := h.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			c, err = readBlob(tx, h.reg.ID, repo, dgst)
			if errors.Is(err, sqldb.ErrNoRow) {
				return h.missing(tx, repo, oci.BlobUnknown(repo, dgst))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		b := &oci.Blob{Descriptor: blobDescriptor(dgst, c.size)}
		if !c.file.Valid {
			b.Content = inline{bytes.NewReader(c.data)}
			return b, nil
		}
		b.Content, err = h.Blobs.Open(c.file.String)
		switch {
		case err == nil:
			return b, nil
		case fault.Is(err, fault.NotFound) && c.file.String != tried:
			tried = c.file.String // it may just have been collected: look once more
			continue
		}
		h.Log.Error("a blob's file cannot be opened: restore it from a backup, or push the image again after deleting the blob",
			"digest", dgst, "file", c.file.String, "error", err)
		return nil, fault.Wrap(err, fault.Internal, "the content of blob %s cannot be read; the server's log says why", dgst)
	}
}

// inline is a small content as a file would be.
type inline struct{ *bytes.Reader }

func (inline) Close() error { return nil }

func blobDescriptor(dgst oci.Digest, size int64) oci.Descriptor {
	return oci.Descriptor{MediaType: oci.MediaTypeOctetStream, Digest: dgst, Size: size}
}

// StatBlob implements oci.Reader. Who asks may be about to push an image without
// this blob, as it is there: so it is condemned no longer.
func (h *handle) StatBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) (oci.Descriptor, error) {
	var size int64
	var condemned bool
	err := h.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		size, condemned, err = statBlob(tx, h.reg.ID, repo, dgst)
		if errors.Is(err, sqldb.ErrNoRow) {
			return h.missing(tx, repo, oci.BlobUnknown(repo, dgst))
		}
		return err
	})
	if err == nil && condemned {
		err = h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
			there, err := spareBlob(tx, h.reg.ID, repo, dgst)
			if err == nil && !there {
				err = oci.BlobUnknown(repo, dgst)
			}
			return err
		})
	}
	return blobDescriptor(dgst, size), err
}

// DeleteBlob implements oci.Deleter: the link goes; the content stays until
// nothing links it.
func (h *handle) DeleteBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) error {
	return h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		id, err := h.lock(tx, repo)
		if err != nil {
			return err
		}
		n, err := unlinkBlob(tx, id, dgst)
		if err == nil && n == 0 {
			err = oci.BlobUnknown(repo, dgst)
		}
		if err != nil {
			return err
		}
		return h.record(tx, contentDelete, thing{repo: repo, digest: dgst}, "blob")
	})
}

// MountBlob implements oci.Writer.
func (h *handle) MountBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest, from oci.Repository) (oci.Descriptor, error) {
	var size int64
	err := h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) (err error) {
		if from == "" {
			size, err = findBlob(tx, h.reg.ID, dgst)
		} else {
			size, _, err = statBlob(tx, h.reg.ID, from, dgst)
		}
		// A source that is locked against reading is no failure of the push: the
		// client has the bytes, or cannot get them here.
		if errors.Is(err, sqldb.ErrNoRow) || disallowed(err) {
			return oci.BlobUnknown(cmp.Or(from, repo), dgst)
		}
		if err != nil {
			return err
		}
		id, err := h.touch(tx, repo)
		if err != nil {
			return err
		}
		if err := holdContent(tx, dgst); err != nil {
			if errors.Is(err, sqldb.ErrNoRow) { // it was collected just now
				err = oci.BlobUnknown(cmp.Or(from, repo), dgst)
			}
			return err
		}
		return linkBlob(tx, id, dgst)
	})
	return blobDescriptor(dgst, size), err
}

// An upload id is 16 random bytes, the second it was issued, and a signature
// that binds both to the registry and the repository. Nothing is stored for it:
// a session without a row is one at offset 0.
const (
	uploadRandom = 16
	uploadSigned = uploadRandom + 8
	uploadMAC    = 16
)

// StartUpload implements oci.Writer.
func (h *handle) StartUpload(_ context.Context, repo oci.Repository) (oci.UploadID, error) {
	token := make([]byte, uploadRandom, uploadSigned+uploadMAC)
	rand.Read(token)
	token = binary.BigEndian.AppendUint64(token, uint64(time.Now().Unix()))
	token = append(token, h.uploadMAC(token, repo)...)
	return oci.UploadID(base64.RawURLEncoding.EncodeToString(token)), nil
}

func (h *handle) uploadMAC(signed []byte, repo oci.Repository) []byte {
	mac := hmac.New(sha256.New, h.UploadKey)
	mac.Write(signed)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(h.reg.ID)))
	io.WriteString(mac, string(repo))
	return mac.Sum(nil)[:uploadMAC]
}

// uploadName checks an id and returns the name of its session in the database
// and the blob store.
func (h *handle) uploadName(id oci.UploadID, repo oci.Repository) (string, error) {
	token, err := base64.RawURLEncoding.DecodeString(string(id))
	if err != nil || len(token) != uploadSigned+uploadMAC ||
		!hmac.Equal(token[uploadSigned:], h.uploadMAC(token[:uploadSigned], repo)) {
		return "", oci.UploadUnknown(repo)
	}
	issued := time.Unix(int64(binary.BigEndian.Uint64(token[uploadRandom:])), 0)
	if time.Since(issued) > uploadLifetime {
		return "", oci.UploadUnknown(repo)
	}
	return hex.EncodeToString(token[:uploadRandom]), nil
}

// loadUpload returns the session as it is stored: empty if it has no bytes yet.
// It fails if a lock of the repository forbids what is needed.
func (h *handle) loadUpload(ctx context.Context, repo oci.Repository, name string, needs locks) (u uploadRow, stored bool, err error) {
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		var locked locks
		u, stored, locked, err = readUpload(tx, h.reg.ID, repo, name)
		if err != nil {
			return err
		}
		return locked.allow(needs, thing{repo: repo})
	})
	if err == nil && u.cancelled {
		err = oci.UploadUnknown(repo)
	}
	return u, stored, err
}

// UploadOffset implements oci.Writer.
func (h *handle) UploadOffset(ctx context.Context, repo oci.Repository, id oci.UploadID) (int64, error) {
	name, err := h.uploadName(id, repo)
	if err != nil {
		return 0, err
	}
	u, _, err := h.loadUpload(ctx, repo, name, 0)
	return u.size, err
}

// CancelUpload implements oci.Writer. The row stays as a mark, since the id
// alone would still be good.
func (h *handle) CancelUpload(ctx context.Context, repo oci.Repository, id oci.UploadID) error {
	name, err := h.uploadName(id, repo)
	if err != nil {
		return err
	}
	if !h.uploads.enter(name) {
		return oci.UploadBusy(repo)
	}
	defer h.uploads.leave(name)
	u, _, err := h.loadUpload(ctx, repo, name, 0)
	if err != nil {
		return err
	}
	return h.closeUpload(ctx, u)
}

// emptyUpload drops the bytes of a session, which is then at offset 0.
func (h *handle) emptyUpload(ctx context.Context, u uploadRow, stored bool) error {
	var err error
	if stored {
		err = h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error { return deleteUpload(tx, u.id) })
	}
	if err == nil && u.file {
		err = h.Blobs.Discard(u.id)
	}
	return err
}

// closeUpload ends a session for good and drops its bytes.
func (h *handle) closeUpload(ctx context.Context, u uploadRow) error {
	err := h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		return putUpload(tx, uploadRow{id: u.id, registry: u.registry, repository: u.repository, cancelled: true})
	})
	if err == nil && u.file {
		err = h.Blobs.Discard(u.id)
	}
	return err
}

// AppendUpload implements oci.Writer.
func (h *handle) AppendUpload(ctx context.Context, repo oci.Repository, id oci.UploadID, at int64, r io.Reader) (int64, error) {
	name, err := h.uploadName(id, repo)
	if err != nil {
		return 0, err
	}
	if !h.uploads.enter(name) {
		return 0, oci.UploadBusy(repo)
	}
	defer h.uploads.leave(name)
	u, _, err := h.loadUpload(ctx, repo, name, lockWrite)
	if err != nil {
		return 0, err
	}
	if at >= 0 && at != u.size {
		return u.size, oci.UploadOutOfOrder(at, u.size)
	}
	s, err := resume(h.Blobs, u, oci.SHA256)
	if err != nil {
		return u.size, err
	}
	_, failed := s.ReadFrom(r)
	if err := s.sync(); err != nil {
		return u.size, err
	}
	if s.row.size == u.size { // nothing came: nothing to remember
		return u.size, failed
	}
	// What did arrive counts, even if the client is gone by now.
	s.row.hashState, err = s.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return u.size, err
	}
	err = h.DB.Write(context.WithoutCancel(ctx), sqldb.Change, func(tx *sqldb.Tx) error {
		return putUpload(tx, s.row)
	})
	if err != nil {
		if s.row.file && !u.file && !fault.Is(err, fault.Unavailable) {
			// No row names this file, and on a full disk its space is missed.
			err = errors.Join(err, h.Blobs.Discard(u.id))
		}
		return u.size, err
	}
	return s.row.size, failed
}

// CommitUpload implements oci.Writer.
func (h *handle) CommitUpload(ctx context.Context, repo oci.Repository, id oci.UploadID, at int64, r io.Reader, dgst oci.Digest) (oci.Descriptor, error) {
	name, err := h.uploadName(id, repo)
	if err != nil {
		return oci.Descriptor{}, err
	}
	if !h.uploads.enter(name) {
		return oci.Descriptor{}, oci.UploadBusy(repo)
	}
	defer h.uploads.leave(name)
	u, stored, err := h.loadUpload(ctx, repo, name, lockWrite)
	if err != nil {
		return oci.Descriptor{}, err
	}
	if at >= 0 && at != u.size {
		return oci.Descriptor{}, oci.UploadOutOfOrder(at, u.size)
	}
	s, err := resume(h.Blobs, u, dgst.Algorithm())
	if err != nil {
		return oci.Descriptor{}, err
	}
	if _, err := s.ReadFrom(r); err != nil {
		// The session stays as it was before this request.
		s.abandon(stored && u.file)
		return oci.Descriptor{}, err
	}
	if err := s.close(); err != nil {
		return oci.Descriptor{}, err
	}
	if is := oci.DigestOf(dgst.Algorithm(), s.hash.Sum(nil)); is != dgst {
		return oci.Descriptor{}, errors.Join(oci.DigestMismatch(dgst, is), h.emptyUpload(context.WithoutCancel(ctx), s.row, stored))
	}
	return blobDescriptor(dgst, s.row.size), h.keep(ctx, repo, s.row, stored, dgst)
}

// keep makes a finished upload a blob of the repository.
func (h *handle) keep(ctx context.Context, repo oci.Repository, u uploadRow, stored bool, dgst oci.Digest) error {
	c := contentRow{size: u.size, data: u.data}
	if u.file {
		file, err := h.Blobs.Keep(u.id, dgst)
		if err != nil {
			return err
		}
		c.data, c.file.String, c.file.Valid = nil, file, true
	} else if c.data == nil {
		c.data = []byte{} // an empty blob is content too, not NULL
	}
	var isNew bool
	err := h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) (err error) {
		if isNew, err = putContent(tx, dgst, c); err != nil {
			return err
		}
		if stored {
			if err := deleteUpload(tx, u.id); err != nil {
				return err
			}
		}
		id, err := h.touch(tx, repo)
		if err != nil {
			return err
		}
		return linkBlob(tx, id, dgst)
	})
	if !c.file.Valid || err == nil && isNew {
		return err
	}
	switch {
	case err == nil: // the content was there, in another file
		return h.Blobs.Remove(c.file.String)
	case !undone(err): // a row may name the file
		return err
	case stored: // the session goes on where it was
		return errors.Join(err, h.Blobs.Restage(c.file.String, u.id))
	}
	return errors.Join(err, h.Blobs.Remove(c.file.String))
}

// undone reports whether a failed transaction is known to have left nothing. An
// error that does not say so may have hit after the commit.
func undone(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Kind != fault.Unavailable && f.Kind != fault.Internal
}

// stream takes an upload's bytes: in memory while they are few, then in a staged
// file; and hashes them on the way.
type stream struct {
	blobs  blob.Store
	row    uploadRow
	hash   hash.Hash
	staged blob.Staged // open once the bytes are in a file
}

// resume continues an upload where it is, hashing with algorithm.
func resume(blobs blob.Store, u uploadRow, algorithm string) (*stream, error) {
	s := &stream{blobs: blobs, row: u, hash: oci.NewHash(algorithm)}
	s.row.data = bytes.Clone(u.data)
	if u.file {
		staged, err := blobs.Stage(u.id, u.size)
		if fault.Is(err, fault.NotFound) {
			return nil, oci.UploadUnknown(u.repository) // its bytes are gone
		}
		if err != nil {
			return nil, err
		}
		s.staged = staged
	}
	if u.size == 0 {
		return s, nil
	}
	if algorithm == oci.SHA256 && s.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(u.hashState) == nil {
		return s, nil
	}
	// Another algorithm, or a state that another build of Go wrote: hash again
	// what is stored.
	s.hash = oci.NewHash(algorithm)
	if !u.file {
		s.hash.Write(u.data)
		return s, nil
	}
	stored, err := blobs.OpenStaged(u.id)
	if err == nil {
		_, err = io.CopyN(s.hash, stored, u.size)
		err = errors.Join(err, stored.Close())
	}
	if err != nil {
		s.staged.Close()
		return nil, err
	}
	return s, nil
}

// ReadFrom takes all of r. After an error of r or of the disk, what was taken
// before is kept and counted.
func (s *stream) ReadFrom(r io.Reader) (taken int64, err error) {
	if s.staged == nil {
		taken, err = s.readInline(r)
		if err != nil || len(s.row.data) <= inlineLimit {
			return taken, err
		}
		if err := s.spill(); err != nil {
			return taken, err
		}
	}
	buf := make([]byte, 256<<10)
	for {
		n, rerr := r.Read(buf)
		if n > 0 {
			wrote, werr := s.staged.Write(buf[:n])
			s.hash.Write(buf[:wrote])
			s.row.size += int64(wrote)
			taken += int64(wrote)
			if werr != nil {
				return taken, werr
			}
		}
		if rerr == io.EOF {
			return taken, nil
		}
		if rerr != nil {
			return taken, readFault(rerr)
		}
	}
}

// readInline reads until the end or until one byte more than may stay in
// memory.
func (s *stream) readInline(r io.Reader) (int64, error) {
	before := len(s.row.data)
	var buf bytes.Buffer
	n, err := buf.ReadFrom(io.LimitReader(r, int64(inlineLimit+1-before)))
	s.row.data = append(s.row.data, buf.Bytes()...)
	s.hash.Write(s.row.data[before:])
	s.row.size += n
	return n, readFault(err)
}

// spill moves what is in memory to a staged file.
func (s *stream) spill() error {
	staged, err := s.blobs.Stage(s.row.id, 0)
	if err != nil {
		return s.unspill(err)
	}
	if _, err := staged.Write(s.row.data); err != nil {
		staged.Close()
		s.blobs.Discard(s.row.id)
		return s.unspill(err)
	}
	s.staged, s.row.file, s.row.data = staged, true, nil
	return nil
}

// unspill keeps in memory what may stay there when the file cannot be had: the
// one byte too many goes, and with it the hash of it.
func (s *stream) unspill(cause error) error {
	s.row.data = s.row.data[:inlineLimit]
	s.row.size = inlineLimit
	s.hash.Reset()
	s.hash.Write(s.row.data)
	return cause
}

// sync makes what was taken durable and closes the file.
func (s *stream) sync() error {
	if s.staged == nil {
		return nil
	}
	return errors.Join(s.staged.Sync(), s.staged.Close())
}

// close closes the file; blob.Store.Keep will flush it.
func (s *stream) close() error {
	if s.staged == nil {
		return nil
	}
	return s.staged.Close()
}

// abandon undoes what a failed request staged, unless the session had a file
// before: its next request will cut off what was added.
func (s *stream) abandon(hadFile bool) {
	if s.staged == nil {
		return
	}
	s.staged.Close()
	if !hadFile {
		s.blobs.Discard(s.row.id)
	}
}

// readFault is what the end of a request's body in mid-air is to a caller.
func readFault(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "the request ended before its content did: what arrived is kept, ask for the offset and continue").
		WithCode(oci.CodeBlobUploadInvalid)
}
