package app_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"

	"github.com/dockbell/dockbell/internal/oci"
)

// clients are those of Azure's library for what a registry holds.
type clients struct {
	*azcontainerregistry.Client
	blobs *azcontainerregistry.BlobClient
	t     *testing.T
}

// contents returns clients that log in as a service principal, as programs for ACR
// do: with a token of the authority, which buys tokens of the registry, one for
// each scope that a challenge asks for.
func (r *running) contents(t *testing.T, p principal) *clients {
	t.Helper()
	at := r.URL()
	options := policy.ClientOptions{
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: at + "/",
			Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{azcontainerregistry.ServiceName: {Audience: at}},
		},
		Transport: r.http, Retry: policy.RetryOptions{MaxRetries: -1},
	}
	credential, err := azidentity.NewClientSecretCredential(p.Tenant, p.AppID, p.Password, &azidentity.ClientSecretCredentialOptions{
		DisableInstanceDiscovery: true, ClientOptions: options,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &clients{t: t}
	if c.Client, err = azcontainerregistry.NewClient(at, credential, &azcontainerregistry.ClientOptions{ClientOptions: options}); err != nil {
		t.Fatal(err)
	}
	if c.blobs, err = azcontainerregistry.NewBlobClient(at, credential, &azcontainerregistry.BlobClientOptions{ClientOptions: options}); err != nil {
		t.Fatal(err)
	}
	return c
}

// upload pushes a blob in chunks.
func (c *clients) upload(repo string, chunks ...string) (digest string) {
	c.t.Helper()
	started, err := c.blobs.StartUpload(c.t.Context(), repo, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	location, calculator := *started.Location, azcontainerregistry.NewBlobDigestCalculator()
	for _, chunk := range chunks {
		sent, err := c.blobs.UploadChunk(c.t.Context(), location, strings.NewReader(chunk), calculator, nil)
		if err != nil {
			c.t.Fatal(err)
		}
		location = *sent.Location
	}
	done, err := c.blobs.CompleteUpload(c.t.Context(), location, calculator, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return *done.DockerContentDigest
}

// push pushes an image for linux on arm64.
func (c *clients) push(repo, tag string) (digest string) {
	c.t.Helper()
	config := `{"os":"linux","architecture":"arm64","tag":"` + tag + `"}`
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		oci.MediaTypeDockerManifest, oci.MediaTypeDockerConfig, c.upload(repo, config), len(config))
	pushed, err := c.UploadManifest(c.t.Context(), repo, tag, azcontainerregistry.ContentTypeApplicationVndDockerDistributionManifestV2JSON,
		streaming.NopCloser(bytes.NewReader([]byte(manifest))), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return *pushed.DockerContentDigest
}

// listAll reads all pages of a list, each of which has to be of one item.
func listAll[T any](t *testing.T, p *runtime.Pager[T], in func(T) []*string) (names []string) {
	t.Helper()
	for p.More() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		items := in(page)
		if len(items) != 1 {
			t.Errorf("a page of %d items", len(items))
		}
		for _, item := range items {
			names = append(names, *item)
		}
	}
	return names
}

// refused reports whether err is an answer with a status and a code of the
// registry's, which the library does not look for.
func refused(err error, status int, code string) bool {
	var response *azcore.ResponseError
	return errors.As(err, &response) && response.StatusCode == status && strings.Contains(err.Error(), `"code": "`+code+`"`)
}

// TestAzureContents has Azure's own client push, describe, lock and delete, over
// TLS, with tokens that it gets by itself.
func TestAzureContents(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, _ := startSelfSigned(t, t.TempDir())
	c := s.contents(t, s.servicePrincipal("POST", "", `{"displayName":"ops","roleAssignments":[{"role":"Contributor"}]}`))
	const repo = "library/hello-world"

	blob := c.upload(repo, strings.Repeat("x", 100_000), strings.Repeat("y", 1000))
	got, err := c.blobs.GetBlob(ctx, repo, blob, nil)
	if err != nil {
		t.Fatal(err)
	}
	check, err := azcontainerregistry.NewDigestValidationReader(blob, got.BlobData)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(check); err != nil || len(content) != 101_000 {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	got.BlobData.Close()
	chunk, err := c.blobs.GetChunk(ctx, repo, blob, "bytes=99999-100000", nil)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(chunk.ChunkData); err != nil || string(content) != "xy" {
		t.Errorf("a chunk: %q, %v", content, err)
	}
	chunk.ChunkData.Close()
	if there, err := c.blobs.CheckBlobExists(ctx, repo, blob, nil); err != nil || *there.ContentLength != 101_000 {
		t.Error(there, err)
	}
	if mounted, err := c.blobs.MountBlob(ctx, "other", repo, blob, nil); err != nil || *mounted.DockerContentDigest != blob {
		t.Error(mounted, err)
	}

	first, second := c.push(repo, "v1"), c.push(repo, "latest")
	c.push("app", "v1")
	if m, err := c.GetManifest(ctx, repo, "v1", nil); err != nil || *m.DockerContentDigest != first {
		t.Error(m, err)
	}
	one := new(int32(1))
	repositories := listAll(t, c.NewListRepositoriesPager(&azcontainerregistry.ClientListRepositoriesOptions{MaxNum: one}),
		func(p azcontainerregistry.ClientListRepositoriesResponse) []*string { return p.Names })
	if want := []string{"app", repo}; !slices.Equal(repositories, want) {
		t.Errorf("repositories %v", repositories)
	}
	for order, want := range map[azcontainerregistry.ArtifactTagOrderBy][]string{
		azcontainerregistry.ArtifactTagOrderByNone:                    {"latest", "v1"},
		azcontainerregistry.ArtifactTagOrderByLastUpdatedOnAscending:  {"v1", "latest"},
		azcontainerregistry.ArtifactTagOrderByLastUpdatedOnDescending: {"latest", "v1"},
	} {
		tags := listAll(t, c.NewListTagsPager(repo, &azcontainerregistry.ClientListTagsOptions{MaxNum: one, OrderBy: &order}),
			func(p azcontainerregistry.ClientListTagsResponse) (names []*string) {
				for _, tag := range p.Tags {
					names = append(names, tag.Name)
				}
				return names
			})
		if !slices.Equal(tags, want) {
			t.Errorf("tags by %s: %v", order, tags)
		}
		byTime := azcontainerregistry.ArtifactManifestOrderBy(order)
		manifests := listAll(t, c.NewListManifestsPager(repo, &azcontainerregistry.ClientListManifestsOptions{MaxNum: one, OrderBy: &byTime}),
			func(p azcontainerregistry.ClientListManifestsResponse) (names []*string) {
				for _, m := range p.Attributes {
					names = append(names, m.Digest)
				}
				return names
			})
		digests := map[azcontainerregistry.ArtifactTagOrderBy][]string{
			azcontainerregistry.ArtifactTagOrderByNone:                    slices.Sorted(slices.Values([]string{first, second})),
			azcontainerregistry.ArtifactTagOrderByLastUpdatedOnAscending:  {first, second},
			azcontainerregistry.ArtifactTagOrderByLastUpdatedOnDescending: {second, first},
		}
		if !slices.Equal(manifests, digests[order]) {
			t.Errorf("manifests by %s: %v", order, manifests)
		}
	}
	ofFirst := listAll(t, c.NewListTagsPager(repo, &azcontainerregistry.ClientListTagsOptions{Digest: &first}), func(p azcontainerregistry.ClientListTagsResponse) (names []*string) {
		for _, tag := range p.Tags {
			names = append(names, tag.Name)
		}
		return names
	})
	if !slices.Equal(ofFirst, []string{"v1"}) {
		t.Errorf("tags of the first image: %v", ofFirst)
	}

	r, err := c.GetRepositoryProperties(ctx, repo, nil)
	if err != nil || *r.Name != repo || *r.ManifestCount != 2 || *r.TagCount != 2 || !*r.ChangeableAttributes.CanWrite || r.LastUpdatedOn.Before(*r.CreatedOn) {
		t.Errorf("%+v, %v", r, err)
	}
	tag, err := c.GetTagProperties(ctx, repo, "v1", nil)
	if err != nil || *tag.Tag.Name != "v1" || *tag.Tag.Digest != first || *tag.RepositoryName != repo || !strings.HasPrefix(*tag.RegistryLoginServer, "dockbell.dockbell.localhost:") {
		t.Errorf("%+v, %v", tag, err)
	}
	m, err := c.GetManifestProperties(ctx, repo, first, nil)
	if err != nil || *m.Manifest.Digest != first || *m.Manifest.Architecture != azcontainerregistry.ArtifactArchitectureArm64 ||
		*m.Manifest.OperatingSystem != azcontainerregistry.ArtifactOperatingSystemLinux || len(m.Manifest.Tags) != 1 || *m.Manifest.ConfigMediaType != oci.MediaTypeDockerConfig {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := c.GetTagProperties(ctx, repo, "none", nil); !refused(err, http.StatusNotFound, oci.CodeTagUnknown) {
		t.Errorf("a tag that is not there: %v", err)
	}

	// Locks.
	off, on := new(false), new(true)
	if tag, err := c.UpdateTagProperties(ctx, repo, "v1", &azcontainerregistry.ClientUpdateTagPropertiesOptions{Value: &azcontainerregistry.TagWriteableProperties{CanDelete: off}}); err != nil ||
		*tag.Tag.ChangeableAttributes.CanDelete || !*tag.Tag.ChangeableAttributes.CanWrite {
		t.Errorf("%+v, %v", tag, err)
	}
	if m, err := c.UpdateManifestProperties(ctx, repo, second, &azcontainerregistry.ClientUpdateManifestPropertiesOptions{Value: &azcontainerregistry.ManifestWriteableProperties{CanWrite: off, CanList: off}}); err != nil ||
		*m.Manifest.ChangeableAttributes.CanWrite || *m.Manifest.ChangeableAttributes.CanList {
		t.Errorf("%+v, %v", m, err)
	}
	if r, err := c.UpdateRepositoryProperties(ctx, "app", &azcontainerregistry.ClientUpdateRepositoryPropertiesOptions{Value: &azcontainerregistry.RepositoryWriteableProperties{CanRead: off}}); err != nil || *r.ChangeableAttributes.CanRead {
		t.Errorf("%+v, %v", r, err)
	}
	for what, do := range map[string]func() error{
		"untag":             func() error { _, err := c.DeleteTag(ctx, repo, "v1", nil); return err },
		"delete the first":  func() error { _, err := c.DeleteManifest(ctx, repo, first, nil); return err },
		"delete the second": func() error { _, err := c.DeleteManifest(ctx, repo, second, nil); return err },
		"delete all":        func() error { _, err := c.DeleteRepository(ctx, repo, nil); return err },
		"pull":              func() error { _, err := c.GetManifest(ctx, "app", "v1", nil); return err },
	} {
		if err := do(); !refused(err, http.StatusMethodNotAllowed, oci.CodeDisallowed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.UpdateTagProperties(ctx, repo, "v1", &azcontainerregistry.ClientUpdateTagPropertiesOptions{Value: &azcontainerregistry.TagWriteableProperties{CanDelete: on}}); err != nil {
		t.Error(err)
	}
	if _, err := c.UpdateManifestProperties(ctx, repo, second, &azcontainerregistry.ClientUpdateManifestPropertiesOptions{Value: &azcontainerregistry.ManifestWriteableProperties{CanWrite: on, CanList: on}}); err != nil {
		t.Error(err)
	}

	fresh := s.contents(t, s.servicePrincipal("POST", "", `{"displayName":"lock","roleAssignments":[{"role":"Contributor"}]}`))
	if _, err := fresh.UpdateRepositoryProperties(ctx, "app", &azcontainerregistry.ClientUpdateRepositoryPropertiesOptions{Value: &azcontainerregistry.RepositoryWriteableProperties{CanRead: on}}); err != nil {
		t.Errorf("a client whose first request is a change: %v", err)
	}

	// Away with it.
	if _, err := c.DeleteTag(ctx, repo, "v1", nil); err != nil {
		t.Error(err)
	}
	if m, err := c.GetManifestProperties(ctx, repo, first, nil); err != nil || len(m.Manifest.Tags) != 0 {
		t.Errorf("untagged: %+v, %v", m, err)
	}
	if _, err := c.DeleteManifest(ctx, repo, first, nil); err != nil {
		t.Error(err)
	}
	for range 2 { // what is gone is as good as deleted
		if _, err := c.DeleteRepository(ctx, repo, nil); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.GetRepositoryProperties(ctx, repo, nil); !refused(err, http.StatusNotFound, oci.CodeNameUnknown) {
		t.Errorf("after it was deleted: %v", err)
	}

	// Who may only pull sees, and changes nothing.
	puller := s.contents(t, s.servicePrincipal("POST", "", `{"displayName":"puller","roleAssignments":[{"role":"AcrPull"}]}`))
	if _, err := puller.GetTagProperties(ctx, "app", "v1", nil); err != nil {
		t.Error(err)
	}
	if _, err := puller.UpdateRepositoryProperties(ctx, "app", &azcontainerregistry.ClientUpdateRepositoryPropertiesOptions{Value: &azcontainerregistry.RepositoryWriteableProperties{CanRead: on}}); !refused(err, http.StatusUnauthorized, oci.CodeUnauthorized) {
		t.Errorf("who may only pull unlocks: %v", err)
	}
	if _, err := puller.DeleteRepository(ctx, "app", nil); !refused(err, http.StatusUnauthorized, oci.CodeUnauthorized) {
		t.Errorf("who may only pull deletes: %v", err)
	}
	// Redirects are for nobody here.
	if status, header, _ := s.do("GET", "/acr/v1//app/../app", nil, s.asOperator); status != http.StatusBadRequest || header.Get("Location") != "" {
		t.Errorf("%d %v", status, header)
	}
}
