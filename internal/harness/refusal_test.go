package harness_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// refusal is a request that breaks a rule.
type refusal struct {
	name, method, path string
	header             http.Header
	body               string
	status             int
	code               string
}

// TestRefusals sends what breaks a rule. Each is told so in the shape of the
// contract it belongs to, and changes nothing: every row of every table is as it
// was.
func TestRefusals(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := harness.Start(t, data)
	ctx := t.Context()
	for _, repo := range []string{"app", "other"} {
		if err := s.PushBlob(ctx, repo, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	s.Must(http.StatusCreated, "PUT", "/v2/app/manifests/v1", harness.ManifestType, harness.Manifest("v1"))
	s.Webhook("deployhook", "http://127.0.0.1:1/", "delete")
	s.Webhook("secondhook", "http://127.0.0.1:1/", "delete")
	s.Stop()
	write(t, data, "UPDATE registry SET sku = 'Basic'") // which has two webhooks
	s = harness.Start(t, data)

	db, err := sqldb.Open(ctx, sqldb.Config{Path: filepath.Join(data, "dockbell.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	before := dump(t, db)
	try := func(t *testing.T, r refusal, location string, check func(*testing.T, []byte) (code, message string)) {
		t.Run(r.name, func(t *testing.T) {
			path := strings.ReplaceAll(r.path, "UPLOAD", location)
			status, answer := send(t, s, r.method, path, r.header, strings.NewReader(r.body))
			code, message := check(t, answer)
			if status != r.status || code != r.code {
				t.Errorf("%d %s, want %d %s\n%s", status, code, r.status, r.code, answer)
			}
			if message == "" || strings.ContainsAny(message, "\n\r\x00") || len(message) > 600 || strings.HasSuffix(message, ".") {
				t.Errorf("this is no sentence for people: %q", message)
			}
			if diff := cmp.Diff(before, dump(t, db)); diff != "" {
				t.Errorf("something was changed (-before +after):\n%s", diff)
				before = dump(t, db)
			}
		})
	}
	t.Run("data plane", func(t *testing.T) {
		for _, r := range dataRefusals() {
			// An upload that was only begun is stored nowhere.
			try(t, r, upload(t, s, "app"), func(t *testing.T, answer []byte) (string, string) {
				var body struct {
					Errors []struct{ Code, Message string }
				}
				strictly(t, answer, &body)
				if len(body.Errors) != 1 {
					t.Fatalf("%s has %d errors, want 1", answer, len(body.Errors))
				}
				return body.Errors[0].Code, body.Errors[0].Message
			})
		}
	})
	t.Run("control plane", func(t *testing.T) {
		for _, r := range controlRefusals() {
			try(t, r, "", func(t *testing.T, answer []byte) (string, string) {
				var body struct {
					Error struct{ Code, Message string }
				}
				strictly(t, answer, &body)
				return body.Error.Code, body.Error.Message
			})
		}
	})
	t.Run("blob with another digest", func(t *testing.T) {
		zeros := "sha256:" + strings.Repeat("0", 64)
		for method, path := range map[string]string{"POST": "/v2/app/blobs/uploads/", "PUT": upload(t, s, "app")} {
			status, answer := send(t, s, method, path+"?digest="+zeros, nil, strings.NewReader("content"))
			if status != http.StatusBadRequest || !bytes.Contains(answer, []byte("DIGEST_INVALID")) {
				t.Errorf("%s: %d %s", method, status, answer)
			}
		}
		// It ends the session; that, and nothing else, is remembered.
		sessions := func(row string) bool { return strings.HasPrefix(row, "upload: ") }
		if diff := cmp.Diff(before, slices.DeleteFunc(dump(t, db), sessions)); diff != "" {
			t.Errorf("something was changed (-before +after):\n%s", diff)
		}
		before = dump(t, db)
	})
	t.Run("quota", func(t *testing.T) {
		r := refusal{"third webhook", "PUT", "/api/v1/registries/dockbell/webhooks/thirdhook", nil, webhookBody(""), http.StatusForbidden, "QuotaExceeded"}
		try(t, r, "", func(t *testing.T, answer []byte) (string, string) {
			var body struct {
				Error struct{ Code, Message string }
			}
			strictly(t, answer, &body)
			return body.Error.Code, body.Error.Message
		})
	})
}

// strictly decodes one JSON document.
func strictly(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

// upload begins an upload and returns its path and query.
func upload(t *testing.T, s *harness.Server, repo string) string {
	t.Helper()
	req, err := http.NewRequest("POST", s.URL+"/v2/"+repo+"/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("dockbell", harness.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.Header.Get("Location")
}

// send sends a request whose path is taken as it is.
func send(t *testing.T, s *harness.Server, method, path string, header http.Header, body io.Reader) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, s.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque = "//" + s.Host + path
	for name, values := range header {
		req.Header[name] = values
	}
	if header.Get("Transfer-Encoding") == "chunked" {
		req.ContentLength = -1
		delete(req.Header, "Transfer-Encoding")
	}
	req.SetBasicAuth("dockbell", harness.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}

func dataRefusals() []refusal {
	const (
		imageType = "application/vnd.oci.image.manifest.v1+json"
		indexType = "application/vnd.oci.image.index.v1+json"
	)
	zeros := "sha256:" + strings.Repeat("0", 64)
	config := harness.Digest([]byte("{}"))
	good := string(harness.Manifest("good"))
	withLayer := func(digest string, size int) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},`+
			`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`, imageType, config, digest, size)
	}
	large := `{"schemaVersion":2,"annotations":{"a":"` + strings.Repeat("x", 4<<20) + `"}}`
	put := func(name, ref, contentType, body string, status int, code string) refusal {
		return refusal{"manifest: " + name, "PUT", "/v2/app/manifests/" + ref, http.Header{"Content-Type": {contentType}}, body, status, code}
	}
	all := []refusal{
		put("empty", "v1", imageType, "", 400, "MANIFEST_INVALID"),
		put("broken JSON", "v1", imageType, good[:len(good)-1], 400, "MANIFEST_INVALID"),
		put("two documents", "v1", imageType, good+good, 400, "MANIFEST_INVALID"),
		put("no object", "v1", imageType, `[]`, 400, "MANIFEST_INVALID"),
		put("null", "v1", imageType, `null`, 400, "MANIFEST_INVALID"),
		put("schema version 1", "v1", imageType, strings.Replace(good, `"schemaVersion":2`, `"schemaVersion":1`, 1), 400, "MANIFEST_INVALID"),
		put("unknown media type", "v1", "application/vnd.example.thing+json", `{"schemaVersion":2}`, 400, "MANIFEST_INVALID"),
		put("another media type than it says", "v1", indexType, good, 400, "MANIFEST_INVALID"),
		put("hostile media type", "v1", "text/html, <script>", good, 400, "MANIFEST_INVALID"),
		put("too large", "v1", imageType, large, 413, "SIZE_INVALID"),
		put("missing layer", "v1", imageType, withLayer(zeros, 1), 404, "MANIFEST_BLOB_UNKNOWN"),
		put("layer of another size", "v1", imageType, withLayer(config, 3), 400, "SIZE_INVALID"),
		put("negative size", "v1", imageType, withLayer(config, -2), 400, "MANIFEST_INVALID"),
		put("digest without meaning", "v1", imageType, withLayer("sha256:00", 2), 400, "MANIFEST_INVALID"),
		put("missing child", "v1", indexType, `{"schemaVersion":2,"mediaType":"`+indexType+`","manifests":[{"mediaType":"`+imageType+`","digest":"`+zeros+`","size":7}]}`, 404, "MANIFEST_BLOB_UNKNOWN"),
		put("another digest", zeros, imageType, good, 400, "DIGEST_INVALID"),
		put("short digest", "sha256:00", imageType, good, 400, "DIGEST_INVALID"),
		put("unknown algorithm", "md5:"+strings.Repeat("0", 32), imageType, good, 400, "DIGEST_INVALID"),
		put("tag with a dot in front", ".v1", imageType, good, 400, "MANIFEST_INVALID"),
		put("tag with a blank", "v%201", imageType, good, 400, "MANIFEST_INVALID"),
		put("long tag", strings.Repeat("v", 129), imageType, good, 400, "MANIFEST_INVALID"),
		put("tag parameter beside a tag", "v1?tag=v2", imageType, good, 400, "UNSUPPORTED"),
		put("hostile tag parameter", harness.Digest([]byte(good))+"?tag=..", imageType, good, 400, "MANIFEST_INVALID"),
		put("many tag parameters", harness.Digest([]byte(good))+"?tag=a"+strings.Repeat("&tag=b", 100), imageType, good, 413, "UNSUPPORTED"),

		{"manifest: too large, of unknown length", "PUT", "/v2/app/manifests/v1", http.Header{"Content-Type": {imageType}, "Transfer-Encoding": {"chunked"}}, large, 413, "SIZE_INVALID"},
		{"manifest: of another repository", "PUT", "/v2/new/manifests/v1", http.Header{"Content-Type": {imageType}}, good, 404, "MANIFEST_BLOB_UNKNOWN"},
		{"delete: unknown digest", "DELETE", "/v2/app/manifests/" + zeros, nil, "", 404, "MANIFEST_UNKNOWN"},
		{"delete: unknown tag", "DELETE", "/v2/app/manifests/nope", nil, "", 404, "MANIFEST_UNKNOWN"},
		{"delete: unknown repository", "DELETE", "/v2/nope/manifests/v1", nil, "", 404, "NAME_UNKNOWN"},
		{"delete: unknown blob", "DELETE", "/v2/app/blobs/" + zeros, nil, "", 404, "BLOB_UNKNOWN"},

		{"blob: no digest", "POST", "/v2/app/blobs/uploads/?digest=nothing", nil, "content", 400, "DIGEST_INVALID"},
		{"blob: unknown algorithm", "POST", "/v2/app/blobs/uploads/?digest-algorithm=md5", nil, "", 400, "DIGEST_INVALID"},
		{"mount: no digest", "POST", "/v2/app/blobs/uploads/?mount=x&from=other", nil, "", 400, "DIGEST_INVALID"},
		{"mount: hostile repository", "POST", "/v2/app/blobs/uploads/?mount=" + config + "&from=../other", nil, "", 400, "NAME_INVALID"},

		{"upload: forged", "PATCH", "/v2/app/blobs/uploads/" + strings.Repeat("A", 54), nil, "content", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"upload: hostile", "PATCH", "/v2/app/blobs/uploads/..%2f..%2fdockbell.db", nil, "content", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"upload: no range", "PATCH", "UPLOAD", http.Header{"Content-Range": {"bytes 0-6/7"}}, "content", 400, "BLOB_UPLOAD_INVALID"},
		{"upload: range backwards", "PATCH", "UPLOAD", http.Header{"Content-Range": {"6-0"}}, "content", 400, "BLOB_UPLOAD_INVALID"},
		{"upload: huge range", "PATCH", "UPLOAD", http.Header{"Content-Range": {"0-99999999999999999999"}}, "content", 400, "BLOB_UPLOAD_INVALID"},
		{"upload: range of another length", "PATCH", "UPLOAD", http.Header{"Content-Range": {"0-7"}}, "content", 400, "SIZE_INVALID"},
		{"upload: gap", "PATCH", "UPLOAD", http.Header{"Content-Range": {"5-11"}}, "content", 416, "BLOB_UPLOAD_INVALID"},
		{"upload: no digest at the end", "PUT", "UPLOAD", nil, "content", 400, "DIGEST_INVALID"},

		{"range: behind the end", "GET", "/v2/app/blobs/" + config, http.Header{"Range": {"bytes=2-"}}, "", 416, "SIZE_INVALID"},
		{"list: negative", "GET", "/v2/app/tags/list?n=-1", nil, "", 400, "UNSUPPORTED"},
		{"list: no number", "GET", "/v2/_catalog?n=all", nil, "", 400, "UNSUPPORTED"},
		{"referrers: no digest", "GET", "/v2/app/referrers/v1", nil, "", 400, "DIGEST_INVALID"},
		{"method", "PATCH", "/v2/app/manifests/v1", nil, "", 405, "UNSUPPORTED"},
	}
	for _, name := range []string{
		"UPPER", "_app", "app_", "a__.b", "app-", ".", "..", "%2e%2e", "a//b", "a/../b", "a/./b", "a%2f%2fb", "app%00", "app%0d%0aX:y", "%ff", "ünï", "a:b",
		strings.Repeat("a", 256), strings.Repeat("a/", 128) + "a",
	} {
		all = append(all, refusal{"name: " + name[:min(len(name), 20)], "PUT", "/v2/" + name + "/manifests/v1", http.Header{"Content-Type": {imageType}}, good, 400, "NAME_INVALID"})
	}
	return all
}

// webhookBody returns the body of a good webhook, but for properties that are
// added last and so count.
func webhookBody(properties string) string {
	return `{"location":"local","properties":{"serviceUri":"http://127.0.0.1:1/","actions":["push"]` + properties + `}}`
}

func controlRefusals() []refusal {
	const hooks = "/api/v1/registries/dockbell/webhooks/"
	all := []refusal{
		{"broken JSON", "PUT", hooks + "deployhook", nil, `{"location":`, 400, "InvalidRequestContent"},
		{"empty body", "PUT", hooks + "deployhook", nil, ``, 400, "InvalidRequestContent"},
		{"no object", "PUT", hooks + "deployhook", nil, `[]`, 400, "InvalidRequestContent"},
		{"two documents", "PUT", hooks + "deployhook", nil, webhookBody("") + webhookBody(""), 400, "InvalidRequestContent"},
		{"wrong type", "PUT", hooks + "deployhook", nil, `{"location":7}`, 400, "InvalidRequestContent"},
		{"large body", "PUT", hooks + "deployhook", nil, webhookBody(`,"scope":"` + strings.Repeat("x", 2<<20) + `"`), 413, "RequestContentTooLarge"},
		{"no location", "PUT", hooks + "thirdhook", nil, `{"properties":{"serviceUri":"http://127.0.0.1:1/","actions":["push"]}}`, 400, "LocationRequired"},
		{"another location", "PUT", hooks + "thirdhook", nil, strings.Replace(webhookBody(""), "local", "eastus", 1), 400, "LocationNotAvailableForResourceType"},
		{"api-version", "GET", hooks + "deployhook?api-version=latest", nil, "", 400, "NoRegisteredProviderFound"},
		{"unknown webhook", "GET", hooks + "otherhook", nil, "", 404, "ResourceNotFound"},
		{"patch of an unknown webhook", "PATCH", hooks + "otherhook", nil, `{"properties":{"status":"disabled"}}`, 404, "ResourceNotFound"},
		{"ping of an unknown webhook", "POST", hooks + "otherhook/ping", nil, "", 404, "ResourceNotFound"},
		{"unknown registry", "GET", "/api/v1/registries/contoso/webhooks", nil, "", 404, "RegistryResourceNotFound"},
		{"unknown operation", "POST", hooks + "deployhook/ring", nil, "", 404, "ResourceNotFound"},
		{"method", "POST", hooks + "deployhook", nil, "", 405, "MethodNotAllowed"},
	}
	for _, name := range []string{"hook", strings.Repeat("h", 51), "deploy-hook", "deploy_hook", "deploy.hook", "deploy%20hook", "deploy%0d%0ahook", "..%2f..%2fhook", "h%C3%B6oks", "deploy%00"} {
		status, code := 400, "InvalidRequest"
		if strings.Contains(name, "%2f") { // a separator like any other
			status, code = 404, "ResourceNotFound"
		}
		all = append(all, refusal{"webhook name: " + name[:min(len(name), 20)], "PUT", hooks + name, nil, webhookBody(""), status, code})
	}
	for _, uri := range []string{ // that are none
		``, `hook`, `/hook`, `//127.0.0.1/`, `http://`, `http:///hook`, `ftp://127.0.0.1/`, `file:///etc/passwd`, `javascript:alert(1)`, `http://127.0.0.1:1/a b`,
		`http://127.0.0.1:1/\r\nX: y`, `http://127.0.0.1:99999/`,
	} {
		all = append(all, refusal{"URI: " + uri, "PATCH", hooks + "deployhook", nil, `{"properties":{"serviceUri":"` + uri + `"}}`, 400, "InvalidRequest"})
	}
	for _, uri := range []string{ // where nothing may ring
		`http://10.0.0.7/`, `http://169.254.169.254/latest/meta-data/`, `http://[fd00::1]/`, `http://0.0.0.0/`, `http://[::ffff:10.0.0.7]/`,
	} {
		all = append(all, refusal{"URI: " + uri, "PATCH", hooks + "deployhook", nil, `{"properties":{"serviceUri":"` + uri + `"}}`, 403, "AuthorizationFailed"})
	}
	for name, properties := range map[string]string{
		"URI: null":                 `"serviceUri":null`,
		"header: line break":        `"customHeaders":{"X-Env":"prod\r\nX-Other: y"}`,
		"header: NUL":               `"customHeaders":{"X-Env":"\u0000"}`,
		"header: line break name":   `"customHeaders":{"X-Env\r\nX-Other":"prod"}`,
		"header: no name":           `"customHeaders":{"":"prod"}`,
		"header: colon":             `"customHeaders":{"X-Env:":"prod"}`,
		"header: Host":              `"customHeaders":{"Host":"evil.example"}`,
		"header: Content-Length":    `"customHeaders":{"content-length":"7"}`,
		"header: Transfer-Encoding": `"customHeaders":{"Transfer-Encoding":"chunked"}`,
		"header: signature":         `"customHeaders":{"Webhook-Signature":"v1,x"}`,
		"header: twice":             `"customHeaders":{"X-Env":"a","x-env":"b"}`,
		"header: too long":          `"customHeaders":{"X-Env":"` + strings.Repeat("x", 8<<10) + `"}`,
		"actions: none":             `"actions":[]`,
		"actions: unknown":          `"actions":["push","explode"]`,
		"actions: ping":             `"actions":["ping"]`,
		"actions: no list":          `"actions":"push"`,
		"scope: everything":         `"scope":"*"`,
		"scope: no colon":           `"scope":"team/*"`,
		"scope: upper case":         `"scope":"Team:*"`,
		"scope: star inside":        `"scope":"te*m:*"`,
		"scope: two tags":           `"scope":"app:v1:v2"`,
		"scope: line break":         `"scope":"app:v1\n"`,
		"status":                    `"status":"paused"`,
	} {
		code := "InvalidRequest"
		if name == "URI: null" || name == "actions: no list" {
			code = "InvalidRequestContent"
		}
		all = append(all, refusal{name, "PATCH", hooks + "deployhook", nil, `{"properties":{` + properties + `}}`, 400, code})
	}
	var tags bytes.Buffer
	for i := range 51 {
		fmt.Fprintf(&tags, `,"t%d":""`, i)
	}
	return append(all, refusal{"tags: too many", "PATCH", hooks + "deployhook", nil, `{"tags":{` + tags.String()[1:] + `}}`, 400, "InvalidRequest"})
}

// write runs a statement on the database of a server that is down.
func write(t *testing.T, data, statement string) {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(data, "dockbell.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dump returns every row of every table, but for what was tried: refusals are on
// record too.
func dump(t *testing.T, db *sqldb.DB) (all []string) {
	t.Helper()
	text := func(scan sqldb.Scan) (s string, err error) { return s, scan(&s) }
	err := db.Read(t.Context(), func(tx *sqldb.Tx) error {
		tables, err := sqldb.Select(tx, text, "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'audit_entry' ORDER BY name")
		if err != nil {
			return err
		}
		for _, table := range tables {
			columns, err := sqldb.Select(tx, text, "SELECT 'quote(' || name || ')' FROM pragma_table_info($1) ORDER BY cid", table)
			if err != nil {
				return err
			}
			rows, err := sqldb.Select(tx, text, "SELECT "+strings.Join(columns, " || ' ' || ")+" FROM "+table+" ORDER BY 1")
			if err != nil {
				return err
			}
			for _, row := range rows {
				all = append(all, table+": "+row)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
