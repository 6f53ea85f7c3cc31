package controlclient

import (
	"encoding/json"

	"github.com/dockbell/dockbell/internal/exchange"
	"github.com/dockbell/dockbell/internal/fault"
)

// The codes that mean more than their status tells.
const (
	codeQuota           = "QuotaExceeded"
	codePositionExpired = "PositionExpired"
)

// errorBody is what an answer says that is no success.
type errorBody struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Oldest int64 `json:"oldest"` // with codePositionExpired
}

// refused makes a fault of an answer that is no success.
func (c *Client) refused(a exchange.Answer) error {
	var body errorBody
	if err := json.Unmarshal(a.Body, &body); err != nil || body.Error.Message == "" {
		return exchange.Refused(c.server, a)
	}
	f := fault.New(a.Kind(), "%s", body.Error.Message).WithCode(body.Error.Code)
	switch body.Error.Code {
	case codeQuota:
		f.Kind = fault.Quota
	case codePositionExpired:
		f.Detail = Expired{body.Oldest}
	}
	return f
}
