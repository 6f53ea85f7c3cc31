package chart

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"strings"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// inlineLimit is the size up to which packages live in the database, where they
// ride on its group commit; in bytes.
const inlineLimit = 64 << 10

// intake is a package on its way in: in memory while it is small, else staged in
// the blob store, and at last kept there.
type intake struct {
	blobs  blob.Store
	digest oci.Digest
	size   int64
	data   []byte // nil: it is staged, or kept
	upload string // of the staged content; empty for none
	kept   string // name of the kept file; empty for none
}

// takeIn reads a package. The caller must call drop or know that a row holds what
// keep returned.
func takeIn(blobs blob.Store, r io.Reader) (*intake, error) {
	in := &intake{blobs: blobs}
	hash := sha256.New()
	body := io.TeeReader(io.LimitReader(r, maxPackage+1), hash)
	var small bytes.Buffer
	n, err := small.ReadFrom(io.LimitReader(body, inlineLimit+1))
	in.size = n
	if err != nil {
		return nil, cutOff(err)
	}
	in.data = small.Bytes()
	if n > inlineLimit {
		if err := in.spill(body); err != nil {
			return nil, errors.Join(err, in.drop())
		}
	}
	if in.size > maxPackage {
		return nil, errors.Join(tooLarge("the package has more than %d bytes", maxPackage), in.drop())
	}
	in.digest = oci.DigestOf(oci.SHA256, hash.Sum(nil))
	return in, nil
}

// spill moves what is in memory to a staged content and adds the rest.
func (in *intake) spill(rest io.Reader) error {
	upload := strings.ToLower(rand.Text())
	staged, err := in.blobs.Stage(upload, 0)
	if err != nil {
		return err
	}
	in.upload = upload
	_, err = staged.Write(in.data)
	in.data = nil
	buf := make([]byte, 256<<10)
	for err == nil {
		n, rerr := rest.Read(buf)
		if _, err = staged.Write(buf[:n]); err != nil {
			break
		}
		in.size += int64(n)
		if errors.Is(rerr, io.EOF) {
			break
		}
		if rerr != nil {
			err = cutOff(rerr)
		}
	}
	return errors.Join(err, staged.Close()) // blob.Store.Keep will flush it
}

// open returns the package for reading.
func (in *intake) open() (io.ReadCloser, error) {
	if in.upload == "" {
		return io.NopCloser(bytes.NewReader(in.data)), nil
	}
	return in.blobs.OpenStaged(in.upload)
}

// keep makes the package durable, unless it will be in its row, and returns what
// the row says of it.
func (in *intake) keep() (contentRow, error) {
	if in.upload == "" {
		return contentRow{data: in.data}, nil
	}
	kept, err := in.blobs.Keep(in.upload, in.digest)
	if err != nil {
		return contentRow{}, err
	}
	in.upload, in.kept = "", kept
	return contentRow{file: kept}, nil
}

// drop removes what no row names.
func (in *intake) drop() error {
	switch {
	case in.upload != "":
		return in.blobs.Discard(in.upload)
	case in.kept != "":
		return in.blobs.Remove(in.kept)
	}
	return nil
}

// undone reports whether a failed transaction is known to have left nothing. An
// error that does not say so may have hit after the commit.
func undone(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Kind != fault.Unavailable && f.Kind != fault.Internal
}

// cutOff is what the end of a request's body in mid-air is to a caller.
func cutOff(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "the request ended before its content did: send it again").WithCode(CodeInvalid)
}

// readSmall reads what lives in a row, whole, up to a limit.
func readSmall(r io.Reader, limit int64, what string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, cutOff(err)
	}
	if int64(len(data)) > limit {
		return nil, tooLarge("%s has more than %d bytes", what, limit)
	}
	return data, nil
}
