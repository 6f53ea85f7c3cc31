package arm

import (
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// kinds says which status a fault becomes, and which code when it brings none of
// its own. Those of kind Unauthenticated come from another contract and always
// take this code.
var kinds = map[fault.Kind]struct {
	status int
	code   string
}{
	fault.Internal:        {http.StatusInternalServerError, "InternalServerError"},
	fault.Invalid:         {http.StatusBadRequest, "InvalidRequest"},
	fault.Unauthenticated: {http.StatusUnauthorized, "AuthenticationFailed"},
	fault.Denied:          {http.StatusForbidden, "AuthorizationFailed"},
	fault.NotFound:        {http.StatusNotFound, "ResourceNotFound"},
	fault.Conflict:        {http.StatusConflict, "Conflict"},
	fault.OutOfRange:      {http.StatusBadRequest, "InvalidRequest"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "RequestContentTooLarge"},
	fault.Quota:           {http.StatusForbidden, "QuotaExceeded"},
	fault.Unsupported:     {http.StatusMethodNotAllowed, "MethodNotAllowed"},
	fault.NoSpace:         {http.StatusInsufficientStorage, "InsufficientStorage"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable"},
}

func statusAndCode(f *fault.Error) (status int, code string) {
	k := kinds[f.Kind]
	if f.Code != "" && f.Kind != fault.Unauthenticated {
		return k.status, f.Code
	}
	return k.status, k.code
}

// seconds writes a duration for Retry-After, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// clip shortens hostile input for a message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
