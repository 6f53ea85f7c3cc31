package ocitest

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/dockbell/dockbell/internal/oci"
)

// Memory returns an empty registry that keeps everything in memory and lets
// everyone do everything. It is the model of the contract: small enough to be
// seen to be right, and complete, so the suite is tried on it first and faces
// can be tested over it.
func Memory() oci.Registry {
	return &memory{
		blobs:   map[oci.Digest][]byte{},
		repos:   map[oci.Repository]*memoryRepository{},
		uploads: map[oci.UploadID]*memoryUpload{},
	}
}

type memory struct {
	mu      sync.Mutex // guards everything below
	blobs   map[oci.Digest][]byte
	repos   map[oci.Repository]*memoryRepository
	uploads map[oci.UploadID]*memoryUpload
	started int
}

type memoryRepository struct {
	blobs     map[oci.Digest]bool // links
	manifests map[oci.Digest]*memoryManifest
	tags      map[oci.Tag]oci.Digest
}

type memoryManifest struct {
	oci.Manifest
	parsed *oci.ParsedManifest
}

type memoryUpload struct {
	repo oci.Repository
	data []byte
	busy bool // a request is writing, without the lock
}

func (m *memory) Ping(context.Context) error { return nil }

func (m *memory) OpenBlob(_ context.Context, repo oci.Repository, dgst oci.Digest) (*oci.Blob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.stat(repo, dgst)
	if err != nil {
		return nil, err
	}
	return &oci.Blob{Descriptor: d, Content: content{bytes.NewReader(m.blobs[dgst])}}, nil
}

func (m *memory) StatBlob(_ context.Context, repo oci.Repository, dgst oci.Digest) (oci.Descriptor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stat(repo, dgst)
}

func (m *memory) stat(repo oci.Repository, dgst oci.Digest) (oci.Descriptor, error) {
	r := m.repos[repo]
	if r == nil {
		return oci.Descriptor{}, oci.NameUnknown(repo)
	}
	if !r.blobs[dgst] {
		return oci.Descriptor{}, oci.BlobUnknown(repo, dgst)
	}
	return blobDescriptor(dgst, int64(len(m.blobs[dgst]))), nil
}

func (m *memory) GetManifest(_ context.Context, repo oci.Repository, ref oci.Reference) (*oci.Manifest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.repos[repo]
	if r == nil {
		return nil, oci.NameUnknown(repo)
	}
	dgst := ref.Digest
	if dgst == "" {
		dgst = r.tags[ref.Tag]
	}
	manifest := r.manifests[dgst]
	if manifest == nil {
		return nil, oci.ManifestUnknown(repo, ref)
	}
	return &manifest.Manifest, nil
}

func (m *memory) MountBlob(_ context.Context, repo oci.Repository, dgst oci.Digest, from oci.Repository) (oci.Descriptor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, r := range m.repos {
		if r.blobs[dgst] && (from == "" || from == name) {
			m.repository(repo).blobs[dgst] = true
			return m.stat(repo, dgst)
		}
	}
	return oci.Descriptor{}, oci.BlobUnknown(cmp.Or(from, repo), dgst)
}

func (m *memory) StartUpload(_ context.Context, repo oci.Repository) (oci.UploadID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started++
	id := oci.UploadID("upload-" + strconv.Itoa(m.started))
	m.uploads[id] = &memoryUpload{repo: repo}
	return id, nil
}

func (m *memory) UploadOffset(_ context.Context, repo oci.Repository, id oci.UploadID) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.uploads[id]
	if u == nil || u.repo != repo {
		return 0, oci.UploadUnknown(repo)
	}
	return int64(len(u.data)), nil
}

func (m *memory) AppendUpload(_ context.Context, repo oci.Repository, id oci.UploadID, at int64, r io.Reader) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.write(repo, id, at, r)
	if u == nil {
		return 0, err
	}
	return int64(len(u.data)), err
}

func (m *memory) CommitUpload(_ context.Context, repo oci.Repository, id oci.UploadID, at int64, r io.Reader, dgst oci.Digest) (oci.Descriptor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.write(repo, id, at, r)
	if err != nil {
		return oci.Descriptor{}, err
	}
	delete(m.uploads, id)
	if is := oci.FromBytes(dgst.Algorithm(), u.data); is != dgst {
		return oci.Descriptor{}, oci.DigestMismatch(dgst, is)
	}
	m.blobs[dgst] = u.data
	m.repository(repo).blobs[dgst] = true
	return m.stat(repo, dgst)
}

// write adds what r holds to a session, letting go of the lock while it reads.
// The session is nil only when there is none.
func (m *memory) write(repo oci.Repository, id oci.UploadID, at int64, r io.Reader) (*memoryUpload, error) {
	u := m.uploads[id]
	if u == nil || u.repo != repo {
		return nil, oci.UploadUnknown(repo)
	}
	if u.busy {
		return u, oci.UploadBusy(repo)
	}
	offset := int64(len(u.data))
	if at >= 0 && at != offset {
		return u, oci.UploadOutOfOrder(at, offset)
	}
	u.busy = true
	m.mu.Unlock()
	data, err := io.ReadAll(r)
	m.mu.Lock()
	u.busy = false
	u.data = append(u.data, data...)
	return u, err
}

func (m *memory) CancelUpload(_ context.Context, repo oci.Repository, id oci.UploadID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.uploads[id]
	if u == nil || u.repo != repo {
		return oci.UploadUnknown(repo)
	}
	if u.busy {
		return oci.UploadBusy(repo)
	}
	delete(m.uploads, id)
	return nil
}

func (m *memory) PutManifest(_ context.Context, repo oci.Repository, put oci.ManifestPut) (oci.ManifestResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dgst := oci.FromBytes(cmp.Or(put.Digest.Algorithm(), oci.SHA256), put.Data)
	if put.Digest != "" && dgst != put.Digest {
		return oci.ManifestResult{}, oci.DigestMismatch(put.Digest, dgst)
	}
	parsed, err := oci.ParseManifest(put.MediaType, put.Data)
	if err != nil {
		return oci.ManifestResult{}, err
	}
	r := m.repos[repo]
	for _, ref := range parsed.References {
		if !ref.Distributable() {
			continue
		}
		if r == nil ||
			ref.Kind == oci.RefersChild && r.manifests[ref.Descriptor.Digest] == nil ||
			ref.Kind != oci.RefersChild && !r.blobs[ref.Descriptor.Digest] {
			return oci.ManifestResult{}, oci.ManifestBlobUnknown(repo, string(ref.Kind), ref.Descriptor.Digest)
		}
	}
	d := oci.Descriptor{MediaType: parsed.MediaType, Digest: dgst, Size: int64(len(put.Data))}
	r = m.repository(repo)
	r.manifests[dgst] = &memoryManifest{oci.Manifest{Descriptor: d, Data: bytes.Clone(put.Data)}, parsed}
	for _, tag := range put.Tags {
		r.tags[tag] = dgst
	}
	result := oci.ManifestResult{Descriptor: d}
	if parsed.Subject != nil {
		result.Subject = parsed.Subject.Digest
	}
	return result, nil
}

func (m *memory) DeleteBlob(_ context.Context, repo oci.Repository, dgst oci.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.stat(repo, dgst); err != nil {
		return err
	}
	delete(m.repos[repo].blobs, dgst)
	return nil
}

func (m *memory) DeleteManifest(_ context.Context, repo oci.Repository, dgst oci.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.repos[repo]
	if r == nil {
		return oci.NameUnknown(repo)
	}
	if r.manifests[dgst] == nil {
		return oci.ManifestUnknown(repo, oci.Reference{Digest: dgst})
	}
	delete(r.manifests, dgst)
	maps.DeleteFunc(r.tags, func(_ oci.Tag, d oci.Digest) bool { return d == dgst })
	return nil
}

func (m *memory) DeleteTag(_ context.Context, repo oci.Repository, tag oci.Tag) (oci.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.repos[repo]
	if r == nil {
		return "", oci.NameUnknown(repo)
	}
	dgst := r.tags[tag]
	if dgst == "" {
		return "", oci.ManifestUnknown(repo, oci.Reference{Tag: tag})
	}
	delete(r.tags, tag)
	return dgst, nil
}

func (m *memory) Tags(_ context.Context, repo oci.Repository, last string, n int) ([]oci.Tag, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.repos[repo]
	if r == nil {
		return nil, false, oci.NameUnknown(repo)
	}
	tags, more := pageOf(slices.Collect(maps.Keys(r.tags)), last, n)
	return tags, more, nil
}

func (m *memory) Repositories(_ context.Context, last string, n int) ([]oci.Repository, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []oci.Repository
	for name, r := range m.repos {
		if len(r.blobs)+len(r.manifests) > 0 {
			names = append(names, name)
		}
	}
	names, more := pageOf(names, last, n)
	return names, more, nil
}

func (m *memory) Referrers(_ context.Context, repo oci.Repository, dgst oci.Digest, artifactType, last string, n int) ([]oci.Descriptor, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.repos[repo]
	if r == nil {
		return nil, false, nil
	}
	var digests []oci.Digest
	for d, manifest := range r.manifests {
		p := manifest.parsed
		if p.Subject != nil && p.Subject.Digest == dgst && (artifactType == "" || artifactType == p.ArtifactType) {
			digests = append(digests, d)
		}
	}
	digests, more := pageOf(digests, last, n)
	var refs []oci.Descriptor
	for _, d := range digests {
		manifest := r.manifests[d]
		ref := manifest.Descriptor
		ref.ArtifactType, ref.Annotations = manifest.parsed.ArtifactType, manifest.parsed.Annotations
		refs = append(refs, ref)
	}
	return refs, more, nil
}

// repository makes the repository on first use.
func (m *memory) repository(name oci.Repository) *memoryRepository {
	r := m.repos[name]
	if r == nil {
		r = &memoryRepository{
			blobs:     map[oci.Digest]bool{},
			manifests: map[oci.Digest]*memoryManifest{},
			tags:      map[oci.Tag]oci.Digest{},
		}
		m.repos[name] = r
	}
	return r
}

// pageOf sorts names and returns the n that follow last; 100 for n < 1.
func pageOf[T ~string](names []T, last string, n int) (page []T, more bool) {
	if n < 1 {
		n = 100
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name T) bool { return string(name) <= last })
	if len(names) > n {
		return names[:n], true
	}
	return names, false
}

func blobDescriptor(dgst oci.Digest, size int64) oci.Descriptor {
	return oci.Descriptor{MediaType: oci.MediaTypeOctetStream, Digest: dgst, Size: size}
}

// content is the content of an open blob, of which nothing has to be closed.
type content struct{ *bytes.Reader }

func (content) Close() error { return nil }
