package registry

import (
	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// What callers do that is on record in the audit log, in the words of Azure's
// roles.
const (
	contentDelete = "Microsoft.ContainerRegistry/registries/repositories/content/delete"
	metadataWrite = "Microsoft.ContainerRegistry/registries/repositories/metadata/write"

	quarantineWrite = "Microsoft.ContainerRegistry/registries/quarantine/write"
	deletedRestore  = "Microsoft.ContainerRegistry/registries/deleted/restore/action"
)

// record puts on record, in the transaction that does it, what the handle's caller
// does to something in the registry. detail says more where it is needed.
func (h *handle) record(tx *sqldb.Tx, action string, of thing, detail string) error {
	if h.Audit == nil {
		return nil
	}
	e := audit.ByRequest(h.caller.Request, h.caller.Actor, h.caller.Kind, h.caller.Correlation)
	e.Registry, e.Action, e.Resource, e.Detail = h.reg.ID, action, of.reference(), detail
	return h.Audit.Append(tx, e)
}

// reference returns the thing as people write it: repository, repository:tag or
// repository@digest.
func (t thing) reference() string {
	switch {
	case t.tag != "":
		return string(t.repo) + ":" + string(t.tag)
	case t.digest != "":
		return string(t.repo) + "@" + string(t.digest)
	}
	return string(t.repo)
}
