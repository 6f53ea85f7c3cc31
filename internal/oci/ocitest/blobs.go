package ocitest

import (
	"errors"
	"io"
	"strings"
	"testing/iotest"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// big is larger than anything a registry keeps in memory or in a row, and no
// multiple of a block.
var big = strings.Repeat("All work and no play makes a layer. ", 30_000)

var blobTests = []test{
	{"unknown", func(s *suite) {
		s.lacksBlob(absent, oci.FromBytes(oci.SHA256, nil))
		s.upload(here, oci.SHA256, "something")
		s.lacksBlob(here, oci.FromBytes(oci.SHA256, []byte("something else")))
		s.lacksBlob(here, oci.FromBytes(oci.SHA512, []byte("something")))
	}},
	{"unknown repository has its own code", func(s *suite) {
		_, err := s.StatBlob(s.ctx, absent, oci.FromBytes(oci.SHA256, nil))
		s.refused(err, fault.NotFound, oci.CodeNameUnknown)
	}},
	{"empty", func(s *suite) {
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			d := s.upload(here, algorithm, "")
			s.holdsBlob(here, d.Digest, "")
		}
	}},
	{"sha512", func(s *suite) {
		d := s.upload(here, oci.SHA512, "strong")
		s.holdsBlob(here, d.Digest, "strong")
	}},
	{"both algorithms for the same bytes", func(s *suite) {
		d256 := s.upload(here, oci.SHA256, big)
		d512 := s.upload(here, oci.SHA512, big)
		s.holdsBlob(here, d256.Digest, big)
		s.holdsBlob(here, d512.Digest, big)
	}},
	{"pushed twice", func(s *suite) {
		for _, data := range []string{"small", big} {
			d := s.upload(here, oci.SHA256, data)
			s.upload(here, oci.SHA256, data)
			s.holdsBlob(here, d.Digest, data)
		}
	}},
	{"belongs to its repository", func(s *suite) {
		s.upload(here, oci.SHA256, "mine")
		d := s.upload(there, oci.SHA256, "theirs")
		s.lacksBlob(here, d.Digest)
	}},
	{"mount", func(s *suite) {
		for _, data := range []string{"small", big} {
			d := s.upload(there, oci.SHA256, data)
			got, err := s.MountBlob(s.ctx, here, d.Digest, there)
			s.ok(err)
			s.sameDescriptor(got, d)
			s.holdsBlob(here, d.Digest, data)
			_, err = s.MountBlob(s.ctx, here, d.Digest, there) // again
			s.ok(err)
		}
	}},
	{"mount from wherever it is", func(s *suite) {
		d := s.upload(there, oci.SHA512, "somewhere")
		_, err := s.MountBlob(s.ctx, here, d.Digest, "")
		s.ok(err)
		s.holdsBlob(here, d.Digest, "somewhere")
	}},
	{"mount of what is not there", func(s *suite) {
		d := s.upload(there, oci.SHA256, "theirs")
		missing := oci.FromBytes(oci.SHA256, []byte("nobody's"))
		for _, from := range []oci.Repository{"", there, absent} {
			_, err := s.MountBlob(s.ctx, here, missing, from)
			s.refused(err, fault.NotFound, oci.CodeBlobUnknown)
		}
		_, err := s.MountBlob(s.ctx, here, d.Digest, absent) // it is somewhere, but not there
		s.refused(err, fault.NotFound, oci.CodeBlobUnknown)
		s.lacksBlob(here, d.Digest)
	}},
}

var uploadTests = []test{
	{"whole in the commit", func(s *suite) {
		for _, data := range []string{"small", big} {
			for _, at := range []int64{-1, 0} {
				dgst := oci.FromBytes(oci.SHA256, []byte(data))
				id := s.start(here)
				d, err := s.CommitUpload(s.ctx, here, id, at, strings.NewReader(data), dgst)
				s.ok(err)
				s.sameDescriptor(d, blobDescriptor(dgst, int64(len(data))))
				s.holdsBlob(here, dgst, data)
			}
		}
	}},
	{"streamed, then committed", func(s *suite) {
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			id := s.start(here)
			s.append(here, id, -1, big, int64(len(big)))
			dgst := oci.FromBytes(algorithm, []byte(big))
			s.commit(here, id, -1, "", dgst)
			s.holdsBlob(here, dgst, big)
		}
	}},
	{"in chunks", func(s *suite) {
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			id := s.start(here)
			var at int64
			for chunk := range pieces(big, 300_001) {
				at += int64(len(chunk))
				s.append(here, id, at-int64(len(chunk)), chunk, at)
				s.offsetIs(here, id, at)
			}
			dgst := oci.FromBytes(algorithm, []byte(big))
			s.commit(here, id, -1, "", dgst)
			s.holdsBlob(here, dgst, big)
		}
	}},
	{"the last chunk with the commit", func(s *suite) {
		for _, data := range []string{"first and last", big} {
			half := len(data) / 2
			id := s.start(here)
			s.append(here, id, 0, data[:half], int64(half))
			dgst := oci.FromBytes(oci.SHA256, []byte(data))
			s.commit(here, id, int64(half), data[half:], dgst)
			s.holdsBlob(here, dgst, data)
		}
	}},
	{"bytes that come one at a time", func(s *suite) {
		data := "slow but steady"
		id := s.start(here)
		offset, err := s.AppendUpload(s.ctx, here, id, -1, iotest.OneByteReader(strings.NewReader(data)))
		s.ok(err)
		if offset != int64(len(data)) {
			s.Errorf("offset is %d: want %d", offset, len(data))
		}
		dgst := oci.FromBytes(oci.SHA256, []byte(data))
		s.commit(here, id, -1, "", dgst)
		s.holdsBlob(here, dgst, data)
	}},
	{"nothing is there before the first byte", func(s *suite) {
		id := s.start(here)
		s.offsetIs(here, id, 0)
		s.lacksBlob(here, oci.FromBytes(oci.SHA256, nil))
	}},
	{"sessions are apart", func(s *suite) {
		a, b := s.start(here), s.start(here)
		if a == b {
			s.Fatalf("two sessions are both %s", a)
		}
		s.append(here, a, 0, "of a", 4)
		s.append(here, b, 0, "of b!", 5)
		s.offsetIs(here, a, 4)
		s.offsetIs(here, b, 5)
	}},
	{"out of order", func(s *suite) {
		id := s.start(here)
		s.outOfOrder(here, id, 7, 0) // before there is anything
		s.append(here, id, 0, "in order", 8)
		for _, at := range []int64{0, 4, 9, 1 << 40} {
			s.outOfOrder(here, id, at, 8)
		}
		dgst := oci.FromBytes(oci.SHA256, []byte("in order, after all"))
		_, err := s.CommitUpload(s.ctx, here, id, 2, strings.NewReader(", after all"), dgst)
		s.refused(err, fault.OutOfRange, oci.CodeBlobUploadInvalid)
		s.offsetIs(here, id, 8)
		s.commit(here, id, 8, ", after all", dgst)
		s.holdsBlob(here, dgst, "in order, after all")
	}},
	{"what came before the line broke is kept", func(s *suite) {
		broken := errors.New("the line broke")
		for _, n := range []int64{10, 400_000} {
			id := s.start(here)
			s.append(here, id, 0, big[:5], 5)
			_, err := s.AppendUpload(s.ctx, here, id, 5, io.MultiReader(strings.NewReader(big[5:n]), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) {
				s.Fatalf("error is %v: want the reader's", err)
			}
			s.offsetIs(here, id, n)
			dgst := oci.FromBytes(oci.SHA256, []byte(big))
			s.commit(here, id, n, big[n:], dgst)
			s.holdsBlob(here, dgst, big)
		}
	}},
	{"resumed after the line broke", func(s *suite) {
		id := s.start(here)
		s.append(here, id, 0, big[:100_000], 100_000)
		broken := errors.New("the line broke")
		_, err := s.AppendUpload(s.ctx, here, id, -1, io.MultiReader(strings.NewReader(big[100_000:400_000]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			s.Fatalf("error is %v: want the reader's", err)
		}
		s.resume(here, id, 100_000, 400_000)
		dgst := oci.FromBytes(oci.SHA256, []byte(big))
		s.commit(here, id, -1, "", dgst)
		s.holdsBlob(here, dgst, big)
	}},
	{"resumed after the line broke in the commit", func(s *suite) {
		id := s.start(here)
		s.append(here, id, 0, big[:10], 10)
		dgst := oci.FromBytes(oci.SHA512, []byte(big))
		broken := errors.New("the line broke")
		_, err := s.CommitUpload(s.ctx, here, id, 10, io.MultiReader(strings.NewReader(big[10:200_000]), iotest.ErrReader(broken)), dgst)
		if !errors.Is(err, broken) {
			s.Fatalf("error is %v: want the reader's", err)
		}
		s.lacksBlob(here, dgst)
		s.resume(here, id, 10, 200_000)
		s.commit(here, id, int64(len(big)), "", dgst)
		s.holdsBlob(here, dgst, big)
	}},
	{"one request at a time", func(s *suite) {
		id := s.start(here)
		data := "of one request"
		r, w := io.Pipe()
		first := make(chan error, 1)
		go func() {
			_, err := s.AppendUpload(s.ctx, here, id, 0, r)
			r.CloseWithError(err) // nobody will read what is still written
			first <- err
		}()
		io.WriteString(w, data[:4]) // returns when the first request has it
		_, second := s.AppendUpload(s.ctx, here, id, 0, strings.NewReader(data))
		io.WriteString(w, data[4:])
		w.Close()
		errs := []error{<-first, second}
		if (errs[0] == nil) == (errs[1] == nil) {
			s.Errorf("two requests at once ended with %v and %v: want one taken", errs[0], errs[1])
		}
		for _, err := range errs {
			if err != nil && !fault.Is(err, fault.OutOfRange) {
				s.refused(err, fault.Conflict, oci.CodeBlobUploadInvalid)
			}
		}
		s.commit(here, id, -1, "", oci.FromBytes(oci.SHA256, []byte(data)))
	}},
	{"of other bytes than the digest says", func(s *suite) {
		said := oci.FromBytes(oci.SHA256, []byte("what was said"))
		for _, data := range []string{"what was sent", big} {
			whole := s.start(here)
			_, err := s.CommitUpload(s.ctx, here, whole, -1, strings.NewReader(data), said)
			s.refused(err, fault.Invalid, oci.CodeDigestInvalid)
			s.isOver(here, whole)

			inParts := s.start(here)
			s.append(here, inParts, 0, data, int64(len(data)))
			_, err = s.CommitUpload(s.ctx, here, inParts, -1, strings.NewReader(""), said)
			s.refused(err, fault.Invalid, oci.CodeDigestInvalid)
			s.isOver(here, inParts)

			s.lacksBlob(here, said)
			s.lacksBlob(here, oci.FromBytes(oci.SHA256, []byte(data)))
		}
	}},
	{"cancelled", func(s *suite) {
		unused := s.start(here)
		s.ok(s.CancelUpload(s.ctx, here, unused))
		for _, data := range []string{"small", big} {
			id := s.start(here)
			s.append(here, id, 0, data, int64(len(data)))
			s.ok(s.CancelUpload(s.ctx, here, id))
			s.isUnknown(here, id)
		}
	}},
	{"unknown", func(s *suite) {
		for _, id := range []oci.UploadID{"0", "no-such-upload", "b1946ac9-2ac1-4d0b-9f3c-0a9d3b6a8f3e", "..."} {
			s.isUnknown(here, id)
		}
	}},
	{"of another repository", func(s *suite) {
		id := s.start(here)
		s.isUnknown(there, id)
		s.append(here, id, 0, "mine", 4)
		s.isUnknown(there, id)
		s.commit(here, id, -1, "", oci.FromBytes(oci.SHA256, []byte("mine")))
	}},
}

func (s *suite) start(repo oci.Repository) oci.UploadID {
	s.Helper()
	id, err := s.StartUpload(s.ctx, repo)
	s.ok(err)
	return id
}

// commit finishes an upload that must be taken.
func (s *suite) commit(repo oci.Repository, id oci.UploadID, at int64, data string, dgst oci.Digest) {
	s.Helper()
	d, err := s.CommitUpload(s.ctx, repo, id, at, strings.NewReader(data), dgst)
	s.ok(err)
	if d.Digest != dgst {
		s.Errorf("committed as %s: want %s", d.Digest, dgst)
	}
	s.isOver(repo, id)
}

func (s *suite) offsetIs(repo oci.Repository, id oci.UploadID, want int64) {
	s.Helper()
	got, err := s.UploadOffset(s.ctx, repo, id)
	s.ok(err)
	if got != want {
		s.Errorf("the upload has %d bytes: want %d", got, want)
	}
}

func (s *suite) outOfOrder(repo oci.Repository, id oci.UploadID, at, want int64) {
	s.Helper()
	got, err := s.AppendUpload(s.ctx, repo, id, at, strings.NewReader("misplaced"))
	s.refused(err, fault.OutOfRange, oci.CodeBlobUploadInvalid)
	if got != want {
		s.Errorf("the chunk at %d is refused with offset %d: want %d", at, got, want)
	}
	s.offsetIs(repo, id, want)
}

// isOver checks that nothing of a session is left. Its id may still be good to
// start again.
func (s *suite) isOver(repo oci.Repository, id oci.UploadID) {
	s.Helper()
	offset, err := s.UploadOffset(s.ctx, repo, id)
	if err != nil {
		s.refused(err, fault.NotFound, oci.CodeBlobUploadUnknown)
	} else if offset != 0 {
		s.Errorf("the upload is over but has %d bytes", offset)
	}
}

// isUnknown checks that a session can be used in no way.
func (s *suite) isUnknown(repo oci.Repository, id oci.UploadID) {
	s.Helper()
	_, err := s.UploadOffset(s.ctx, repo, id)
	s.refused(err, fault.NotFound, oci.CodeBlobUploadUnknown)
	_, err = s.AppendUpload(s.ctx, repo, id, 0, strings.NewReader("more"))
	s.refused(err, fault.NotFound, oci.CodeBlobUploadUnknown)
	_, err = s.CommitUpload(s.ctx, repo, id, 0, strings.NewReader("all"), oci.FromBytes(oci.SHA256, []byte("all")))
	s.refused(err, fault.NotFound, oci.CodeBlobUploadUnknown)
	s.refused(s.CancelUpload(s.ctx, repo, id), fault.NotFound, oci.CodeBlobUploadUnknown)
}

// resume sends the rest of big as a client does after an interruption: ask, go
// on there, and ask again when the server was still busy with what arrived
// before. At least low and at most high bytes are there already.
func (s *suite) resume(repo oci.Repository, id oci.UploadID, low, high int64) {
	s.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		offset, err := s.UploadOffset(s.ctx, repo, id)
		if err == nil {
			if offset < low || offset > high {
				s.Fatalf("%d bytes are stored: want %d to %d", offset, low, high)
			}
			offset, err = s.AppendUpload(s.ctx, repo, id, offset, strings.NewReader(big[offset:]))
		}
		if err == nil {
			if offset != int64(len(big)) {
				s.Fatalf("offset is %d at the end: want %d", offset, len(big))
			}
			return
		}
		if !fault.Is(err, fault.OutOfRange) && !fault.Is(err, fault.Conflict) || time.Now().After(deadline) {
			s.Fatalf("resume: %v", err)
		}
	}
}

// pieces cuts s into pieces of n bytes.
func pieces(s string, n int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for len(s) > n {
			if !yield(s[:n]) {
				return
			}
			s = s[n:]
		}
		yield(s)
	}
}
