package registry

import (
	"slices"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// The time since when a manifest counts as untagged is when it lost its last tag,
// was last pushed, or was last listed by an index that was pushed, whichever is
// latest. It means nothing while the manifest has a tag.

// lostTag notes that a manifest may have lost its last tag.
func lostTag(tx *sqldb.Tx, manifest int64) error {
	_, err := tx.Exec("UPDATE manifest SET untagged_at = $2 WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM tag WHERE manifest = $1)",
		manifest, tx.Now().UnixNano())
	return err
}

// renewChildren has the manifests that a pushed index lists count as new, so that
// whoever is about to remove one sees that in its row.
func renewChildren(tx *sqldb.Tx, repository int64, refs []oci.ManifestReference) error {
	var children []any
	for _, r := range refs {
		if r.Kind == oci.RefersChild {
			children = append(children, string(r.Descriptor.Digest))
		}
	}
	const chunk = 100
	for part := range slices.Chunk(children, chunk) {
		_, err := tx.Exec("UPDATE manifest SET untagged_at = $2 WHERE repository = $1 AND digest IN ("+sqldb.In(3, len(part))+")",
			append([]any{repository, tx.Now().UnixNano()}, part...)...)
		if err != nil {
			return err
		}
	}
	return nil
}
