package cli_test

import (
	"strings"
	"testing"
)

// TestImport compares what is sent: where an image comes from is told from its
// name, or from --registry, and user and password are the other registry's.
func TestImport(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	id := testSubscription + "/resourceGroups/dockbell/providers/Microsoft.ContainerRegistry/registries/contoso"
	for line, want := range map[string]string{
		"--source docker.io/library/alpine:3":                             `{"source":{"registryUri":"docker.io","sourceImage":"library/alpine:3"},"targetTags":["library/alpine:3"],"mode":"NoForce"}`,
		"--source localhost:5000/a@" + webDigest + " -t b:1 -t c --force": `{"source":{"registryUri":"localhost:5000","sourceImage":"a@` + webDigest + `"},"targetTags":["b:1","c"],"mode":"Force"}`,
		"--source http://there:5000/a:1 -u ada -p s3cret --repository b":  `{"source":{"registryUri":"http://there:5000","sourceImage":"a:1","credentials":{"username":"ada","password":"s3cret"}},"untaggedTargetRepositories":["b"],"mode":"NoForce"}`,
		"--source team/web:1 -r contoso --image web:1":                    `{"source":{"resourceId":"` + id + `","sourceImage":"team/web:1"},"targetTags":["web:1"],"mode":"NoForce"}`,
		"--source contoso.azurecr.example/web:1 -r contoso":               `{"source":{"resourceId":"` + id + `","sourceImage":"web:1"},"targetTags":["web:1"],"mode":"NoForce"}`,
		"--source web:1 -r " + id:                                         `{"source":{"resourceId":"` + id + `","sourceImage":"web:1"},"targetTags":["web:1"],"mode":"NoForce"}`,
	} {
		srv.sent = nil
		got := sh.run(strings.Fields("import -n contoso " + line)...)
		if len(srv.sent) != 1 || srv.sent[0] != "POST "+want || got.code != 0 {
			t.Errorf("%s: exit %d %s, sends\n%q, want\n%q", line, got.code, got.err, srv.sent, want)
		}
	}
	for line, want := range map[string]string{
		"--source alpine:3":                             "does not begin with the host of a registry",
		"--source library/alpine:3":                     "does not begin with the host of a registry",
		"--source docker.io/":                           "does not begin with the host of a registry",
		"--source docker.io/library/alpine:3 -u ada":    "there is no --password",
		"--source docker.io/library/alpine:3 --no-wait": "--no-wait is not offered",
		"-t a:1": "needs --source",
	} {
		if got := sh.run(strings.Fields("import -n contoso " + line)...); got.code != 2 || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit %d %s, want %s", line, got.code, got.err, want)
		}
	}
}
