package oci

import (
	"context"
	"time"
)

// Contents is a registry with everything that ACR has of it: what OCI
// Distribution says, the metadata, quarantine, and what was deleted.
type Contents interface {
	Registry
	Metadata
	Quarantine
	SoftDelete
}

// Metadata describes what a registry holds, and says what may be done with it:
// ACR's /acr/v1. Like Registry it is a handle for one caller, its errors are made
// in errors.go, and what is passed in is valid.
//
// An attribute that is off holds for everyone, whatever their rights, until it is
// on again; changing attributes is never kept off by one. Whatever an attribute
// forbids fails with REGISTRY_DISALLOWED_OPERATION: of a repository for
// everything in it, of a manifest for the manifest, of a tag for what goes by the
// tag. See Attributes.
type Metadata interface {
	// DescribeRepository fails with NAME_UNKNOWN.
	DescribeRepository(ctx context.Context, repo Repository) (RepositoryDetails, error)

	// DescribeTag fails with TAG_UNKNOWN or NAME_UNKNOWN.
	DescribeTag(ctx context.Context, repo Repository, tag Tag) (TagDetails, error)

	// DescribeManifest fails with MANIFEST_UNKNOWN or NAME_UNKNOWN.
	DescribeManifest(ctx context.Context, repo Repository, dgst Digest) (ManifestDetails, error)

	// DescribeTags lists the tags of a repository that are to be listed, of one
	// manifest if dgst is not empty. It fails with NAME_UNKNOWN.
	DescribeTags(ctx context.Context, repo Repository, dgst Digest, p DetailsPage) (tags []TagDetails, more bool, err error)

	// DescribeManifests lists the manifests of a repository that are to be
	// listed. It fails with NAME_UNKNOWN.
	// A page may be shorter than asked for where manifests are large.
	DescribeManifests(ctx context.Context, repo Repository, p DetailsPage) (manifests []ManifestDetails, more bool, err error)

	// SetRepositoryAttributes changes those that are given, and returns what
	// DescribeRepository would. Errors as there.
	SetRepositoryAttributes(ctx context.Context, repo Repository, change AttributesChange) (RepositoryDetails, error)

	// SetTagAttributes is the same for a tag.
	SetTagAttributes(ctx context.Context, repo Repository, tag Tag, change AttributesChange) (TagDetails, error)

	// SetManifestAttributes is the same for a manifest.
	SetManifestAttributes(ctx context.Context, repo Repository, dgst Digest, change AttributesChange) (ManifestDetails, error)

	// DeleteRepository removes a repository with everything in it, and records
	// one delete event per manifest. It goes in pieces: after an error some of
	// them may be done, each with its events, and the caller asks again. What is
	// pushed meanwhile stays, in a repository of that name. It fails with
	// NAME_UNKNOWN, or, having done nothing, when an attribute of the repository
	// or of anything in it forbids it; an attribute that is turned off meanwhile
	// ends it where it is.
	DeleteRepository(ctx context.Context, repo Repository) (Deleted, error)
}

// Attributes are what may be done with a repository, tag or manifest. All are on
// in what is new.
type Attributes struct {
	Delete bool // it may be deleted
	Write  bool // it may be changed: pushed to, overwritten, and deleted as well
	Read   bool // it may be pulled; its metadata always can be read. A mount finds no blob in a repository where this is off
	List   bool // it is in lists: a repository in the catalog, a tag in those of tags, a manifest in those of manifests and referrers
}

// AttributesChange is the attributes that get another value; nil stays.
type AttributesChange struct {
	Delete, Write, Read, List *bool
}

// RepositoryDetails is what is known of a repository.
type RepositoryDetails struct {
	Name          Repository
	CreatedAt     time.Time
	UpdatedAt     time.Time // of the last change in it
	ManifestCount int64
	TagCount      int64
	Attributes    Attributes
}

// TagDetails is what is known of a tag.
type TagDetails struct {
	Name       Tag
	Digest     Digest // of its manifest
	CreatedAt  time.Time
	UpdatedAt  time.Time // of the last push to it, or change of its attributes
	Attributes Attributes
}

// ManifestDetails is what is known of a manifest.
type ManifestDetails struct {
	Digest          Digest
	MediaType       string
	ConfigMediaType string // empty where there is no config: in an index
	ArtifactType    string

	// ImageSize is the size of what a pull brings beside the manifest, config and
	// layers, each content once, in bytes; of an index its own size.
	ImageSize int64

	// Platform is the image's, as its config says; the zero Platform where that
	// says nothing.
	Platform Platform

	// References are the manifests that an index lists, with their platforms.
	References []Descriptor

	CreatedAt  time.Time
	UpdatedAt  time.Time // of the last push of it, or change of its attributes
	Tags       []Tag     // in byte order; those that are not to be listed left out
	Attributes Attributes

	Quarantine        QuarantineState
	QuarantineDetails string // JSON, as it was sent; empty: none
}

// DetailsPage is which part of a list a caller wants.
type DetailsPage struct {
	Last  string // the tag or digest after which to go on; empty: from the start
	N     int    // at most so many; less than 1: a page of the implementation's size
	Order Order

	// LastTime is the UpdatedAt of Last as it was listed, for the orders of time:
	// the page goes on there, whatever became of Last since. Zero means the time
	// that Last has now; a list whose Last is gone then begins anew, so that
	// nothing is left out where a client deletes what it lists.
	LastTime time.Time
}

// Order is what a list of details is sorted by.
type Order int

// The orders there are. Details with one time are in the order of their names.
const (
	ByName      Order = iota // byte order: tag, or digest
	OldestFirst              // by the time of the last change
	NewestFirst
)

// Deleted is what went with a repository.
type Deleted struct {
	Manifests []Digest
	Tags      []Tag
}
