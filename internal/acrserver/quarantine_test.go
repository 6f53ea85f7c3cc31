package acrserver

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/fault"
)

// TestQuarantineDetails has what ACR's form for it takes and refuses.
func TestQuarantineDetails(t *testing.T) {
	t.Parallel()
	summary := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"severity":"High","count":3},`, n), ",") + "]"
	}
	for text, want := range map[string]string{
		`{}`: "",
		`{"state":"scan passed","link":"https://scanner.example/r/1"}`:                              "",
		` { "scanner" : "trivy" } `:                                                                 "",
		`{"result":{"version":"1.2","summary":[]}}`:                                                 "",
		`{"result":{"version":"1.2","summary":` + summary(5) + `,"description":"fine"}}`:            "",
		`{"result":{"version":"","summary":[{}],"tool":{"name":"x"}}}`:                              "", // ACR's form says nothing of others here
		`{"result":{"version":"1","summary":[],"description":"` + strings.Repeat("ü", 1024) + `"}}`: "",
		`{"result":{"version":"1","summary":[],"description":"` + strings.Repeat("u", 1025) + `"}}`: "result.description is not a string of up to 1024 characters",
		`{"result":{"version":"1","summary":[],"description":1}}`:                                   "result.description is not a string",
		`{"result":{"version":"1.2","summary":` + summary(6) + `}}`:                                 "result.summary has 6 entries, and may have 5",
		`{"result":{"version":"1.2"}}`:                                                              "result.summary is not there",
		`{"result":{"summary":[]}}`:                                                                 "result.version is not there",
		`{"result":{"version":1,"summary":[]}}`:                                                     "result.version is not there, or not a string",
		`{"result":{"version":"1","summary":{}}}`:                                                   "result.summary is not there, or not a list",
		`{"result":{"version":"1","summary":[1]}}`:                                                  "result.summary[0] is not an object",
		`{"result":{"version":"1","summary":[{"severity":"high"}]}}`:                                "result.summary[0].severity is none of Critical, High, Medium, Low, None",
		`{"result":{"version":"1","summary":[{"severity":"None","count":0},{"count":1.5}]}}`:        "result.summary[1].count is not a whole number",
		`{"result":{"version":"1","summary":[{"count":"1"}]}}`:                                      "result.summary[0].count is not a whole number",
		`{"result":[]}`:             "result is not an object",
		`{"state":1}`:               "state is not a string",
		`{"scanner":null}`:          "scanner is not a string",
		`{"link":["x"]}`:            "link is not a string",
		`{"status":"good"}`:         `there is no member "status": use scanner, state, link and result`,
		`{"state":"a","state":"b"}`: `member "state" of quarantineDetails occurs twice`,
		`"scan passed"`:             "quarantineDetails is not a JSON object: send for example",
		`{"state":"a"} x`:           "something follows the JSON object in quarantineDetails",
		`{"state":`:                 "quarantineDetails is not JSON",
		`{"state":"` + strings.Repeat("x", maxDetails) + `"}`: "it has 16396 bytes, and may have 16384",
	} {
		err := checkDetails(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%.80s: %v", text, err)
		case want != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want)):
			t.Errorf("%.80s: %v, want …%s…", text, err, want)
		}
	}
}

// FuzzQuarantineDetails checks that what is taken is a JSON object of known members,
// within the bounds.
func FuzzQuarantineDetails(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"state":"scan passed","link":"https://scanner.example/r/1","scanner":"x"}`,
		`{"result":{"version":"1","summary":[{"severity":"High","count":3}],"description":"d"}}`, `{"result":{"version":"1","summary":[{"count":1e3}]}}`, `{"state":"a"}x`, `[]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if err := checkDetails(text); err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		var is struct {
			Scanner, State, Link string
			Result               *struct {
				Version     *string
				Summary     []struct{ Count int64 }
				Description string
			}
		}
		if err := json.Unmarshal([]byte(text), &is); err != nil || len(text) > maxDetails {
			t.Fatalf("%q is taken: %v", text, err)
		}
		var members map[string]any
		if err := json.Unmarshal([]byte(text), &members); err != nil {
			t.Fatal(err)
		}
		for name := range members {
			if !strings.Contains(" scanner state link result ", fmt.Sprintf(" %s ", name)) {
				t.Fatalf("%q has %s", text, name)
			}
		}
		if r := is.Result; r != nil && (len(r.Summary) > maxSummary || utf8.RuneCountInString(r.Description) > maxDescription) {
			t.Fatalf("%q is taken", text)
		}
	})
}
