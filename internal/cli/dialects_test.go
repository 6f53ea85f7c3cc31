package cli_test

import (
	"strings"
	"testing"
)

// TestDialects: the formats of services, and what a receiver wants otherwise in
// CloudEvents, from the flags to what is shown.
func TestDialects(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	for _, step := range []struct {
		args, out, sent string
	}{
		{"create -n deployhook --uri https://hooks.slack.example/services/T0/B0/s3cret --actions push --format Slack --query [format,handshake,eventTypePrefix,flatData]",
			`["slack","none",null,null]`, `"serviceUri":"https://hooks.slack.example/services/T0/B0/s3cret","status":"enabled","actions":["push"],"format":"slack"}}`},
		{"update -n deployhook --format gitlab --uri https://gitlab.example/api/v4/projects/9/trigger/pipeline?token=t0ken&ref=main --query [format]",
			`["gitlab"]`, `PATCH {"properties":{"serviceUri":"https://gitlab.example/api/v4/projects/9/trigger/pipeline?token=t0ken\u0026ref=main","format":"gitlab"}}`},
		{"update -n deployhook --format cloudevents --handshake none --event-type-prefix com.example.container --flat-data --query [format,handshake,eventTypePrefix,flatData]",
			`["cloudevents","none","com.example.container",true]`,
			`PATCH {"properties":{"format":"cloudevents","handshake":"none","eventTypePrefix":"com.example.container","flatData":true}}`},
		{"update -n deployhook --flat-data FALSE --event-type-prefix= --query [format,handshake,eventTypePrefix,flatData]",
			`["cloudevents","none",null,null]`, `PATCH {"properties":{"eventTypePrefix":"","flatData":false}}`},
		{"create -n otherhook --uri https://hooks.example.net/ce --actions push --format cloudevents-binary --handshake none --event-type-prefix com.example --flat-data true --query [eventTypePrefix,flatData]",
			`["com.example",true]`, `"format":"cloudevents-binary","handshake":"none","eventTypePrefix":"com.example","flatData":true}}`},
	} {
		srv.sent = nil
		got := sh.run(append([]string{"webhook"}, append(strings.Fields(step.args), "-o", "json")...)...)
		if flat := strings.NewReplacer("\n", "", " ", "").Replace(got.out); got.code != 0 || flat != step.out || len(srv.sent) != 1 || !strings.HasSuffix(srv.sent[0], step.sent) {
			t.Errorf("%s: %+v, sent %s", step.args, got, srv.sent)
		}
	}
	for _, step := range []struct {
		args, want string
		code       int
	}{
		{"--format slak", `"slak" is not one of acr, cloudevents, cloudevents-binary, github, gitlab, slack, did you mean slack?`, 2},
		{"--flat-data=maybe", `"maybe" is not one of true, false`, 2},
		{"--format github", "error: the format github needs a service URI that ends in /dispatches", 1},
		{"--event-type-prefix com.", `error: "com." cannot begin the types of events`, 1},
		{"--format acr --flat-data", "error: webhook deployhook has a prefix of event types or flat data, and the format acr, which has neither", 1},
	} {
		if got := sh.run(append([]string{"webhook", "update", "-n", "deployhook"}, strings.Fields(step.args)...)...); got.code != step.code || !strings.Contains(got.err, step.want) {
			t.Errorf("%s: %+v", step.args, got)
		}
	}
}

// TestApplyDialects: the same in a file, and a second time nothing.
func TestApplyDialects(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	const (
		begin  = "webhooks:\n  - {name: deployhook, uri: '${URI}', actions: [push]"
		slack  = "https://hooks.slack.example/services/T0/B0/s3cret"
		github = "https://api.github.example/repos/contoso/deploy/dispatches"
	)
	for _, step := range []struct{ member, uri, out, sent string }{
		{", format: Slack", slack, "+ deployhook\n1 created, 0 changed, 0 deleted\n",
			`PUT {"location":"westeurope","properties":{"serviceUri":"` + slack + `","status":"enabled","actions":["push"],"format":"slack"}}`},
		{", format: github", github, "~ deployhook  uri: https://hooks.slack.example -> https://api.github.example; format: slack -> github\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"serviceUri":"` + github + `","format":"github","handshake":"none"}}`},
		{", format: cloudevents, handshake: none, eventTypePrefix: com.example.container, flatData: yes", github, "", ""},
		{", format: cloudevents, handshake: none, eventTypePrefix: com.example.container, flatData: True", github,
			"~ deployhook  format: github -> cloudevents; eventTypePrefix: none -> com.example.container; flatData: false -> true\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"format":"cloudevents","handshake":"none","eventTypePrefix":"com.example.container","flatData":true}}`},
		{", format: cloudevents, handshake: none, flatData: false", github,
			"~ deployhook  eventTypePrefix: com.example.container -> none; flatData: true -> false\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"eventTypePrefix":"","flatData":false}}`},
		{", format: slack", slack, "~ deployhook  uri: https://api.github.example -> https://hooks.slack.example; format: cloudevents -> slack\n0 created, 1 changed, 0 deleted\n",
			`PATCH {"properties":{"serviceUri":"` + slack + `","format":"slack","handshake":"none"}}`},
	} {
		srv.sent = nil
		sh, path := write(t, srv, begin+step.member+"}\n")
		sh.env["URI"] = step.uri
		got := applied(t, sh, path)
		if step.out == "" {
			if got.code != 1 || !strings.Contains(got.err, "hooks.yaml:2: flatData is true or false") || srv.sent != nil {
				t.Errorf("%q: %+v, sent %s", step.member, got, srv.sent)
			}
			continue
		}
		if got.code != 0 || got.out != step.out || strings.Join(srv.sent, "\n") != step.sent {
			t.Errorf("%q: %+v, sent %s", step.member, got, srv.sent)
		}
		srv.sent = nil
		if got := applied(t, sh, path); got.out != "nothing to change: the webhooks of registry contoso are as hooks.yaml has them\n" || srv.sent != nil {
			t.Errorf("%q, a second time: %+v, sent %s", step.member, got, srv.sent)
		}
	}
	for _, bad := range []struct{ member, want string }{
		{"format: slak", `format: "slak" is not one of acr, cloudevents, cloudevents-binary, github, gitlab, slack, did you mean slack?`},
		{"eventTypePrefix: com.example", "webhook deployhook has eventTypePrefix or flatData, and the format acr, which has neither"},
		{"format: github, flatData: true", "webhook deployhook has eventTypePrefix or flatData, and the format github, which has neither"},
		{"format: cloudevents, eventTypePrefix: 'com example'", `"com example" cannot begin the types of events`},
		{"format: cloudevents, flatData: [true]", "flatData is true or false"},
	} {
		sh, path := write(t, srv, begin+", "+bad.member+"}\n")
		sh.env["URI"] = slack
		if got := applied(t, sh, path); got.code != 1 || !strings.Contains(got.err, "hooks.yaml:2: "+bad.want) {
			t.Errorf("%s: %+v", bad.member, got)
		}
	}
}
