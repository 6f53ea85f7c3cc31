package cli_test

import "testing"

// TestRetentionConfig shows and changes the retention policy of registries with it
// and without.
func TestRetentionConfig(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.terminal = true
	sh.env["NO_COLOR"] = "1"
	golden(t, "config-retention.txt", transcript(sh,
		"registry create -n fabrikam --sku Standard -l eastus",
		"config retention show -r contoso",
		"config retention update -r contoso --status Enabled --days 30 --type untaggedmanifests",
		"config retention update -r contoso --days 0 --type UntaggedManifests -o json",
		"config retention update -r contoso --status disabled --type UntaggedManifests",
		"config retention update -r contoso --type UntaggedManifests",
		"config retention update -r contoso --days 366 --type UntaggedManifests",
		"config retention update -r contoso --days 7",
		"config retention update -r contoso --days 7 --type all",
		"config retention update -r fabrikam --status enabled --type UntaggedManifests",
	))
}
