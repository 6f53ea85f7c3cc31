package cli

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// cloudName is what az calls the server.
const cloudName = "Dockbell"

func azEnvCommand(env Env) *cobra.Command {
	conn := connection{env: env}
	var appID, passwordFile string
	cmd := &cobra.Command{
		Use:   "az-env",
		Short: "Print the shell commands that point Azure's command line at the server.",
		Example: "  eval \"$(dockbell az-env)\"\n" +
			"  eval \"$(dockbell az-env --app-id 0b9f8c7e-… --password-file secret.txt)\"\n" +
			"  DOCKBELL_USERNAME=0b9f8c7e-… DOCKBELL_PASSWORD=… sh -c 'eval \"$(dockbell az-env)\"; az acr list'",
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := conn.find()
			if err != nil {
				return err
			}
			if found.server.Scheme != "https" {
				return fault.New(fault.Invalid, "az speaks https only, and %s does not: run the server with --tls self-signed, and then dockbell login https://%s --ca FILE, its tls/ca.pem",
					found.server, found.server.Host)
			}
			c := controlclient.New(found.server, "", "", found.http)
			cloud, err := c.Cloud(cmd.Context())
			if err != nil {
				return err
			}
			login, err := azLogin(env, found.stored, appID, passwordFile, cloud.Authentication.Tenant)
			if err != nil {
				return err
			}
			for _, line := range append(azCloud(found.server, found.ca, cloud), login...) {
				if _, err := fmt.Fprintln(env.Stdout, line); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&appID, "app-id", "", "log in as the service principal with this `appId`; else DOCKBELL_USERNAME, else the user of dockbell login")
	flags.StringVar(&passwordFile, "password-file", "", "`file` with its password alone, which az reads; else az is given DOCKBELL_PASSWORD, else there is no login")
	Group(flags, "Login")
	flags.StringVar(&conn.server, "server", "", "`URL` of the server; else DOCKBELL_SERVER, else that of dockbell login")
	Group(flags, "Server")
	return cmd
}

// azCloud returns the commands by which az learns of the server.
func azCloud(server *url.URL, ca string, cloud controlclient.Cloud) (lines []string) {
	if ca != "" {
		lines = append(lines, "export REQUESTS_CA_BUNDLE="+quote(ca))
	}
	domain, _, _ := strings.Cut(cloud.Suffixes.ACRLoginServer, ":")
	direct := quote(server.Hostname() + "," + domain)
	at := server.String()
	return append(lines,
		`export NO_PROXY="${NO_PROXY:+$NO_PROXY,}"`+direct,
		"export AZURE_CORE_COLLECT_TELEMETRY=0 AZURE_CORE_ERROR_RECOMMENDATION=off AZURE_CORE_SURVEY_MESSAGE=0 AZURE_CORE_INSTANCE_DISCOVERY=false",
		// There is no one command that does both.
		"az cloud $(az cloud show --name "+cloudName+" --output none 2>/dev/null && echo update || echo register) --name "+cloudName+
			" --endpoint-resource-manager "+quote(at+"/")+" --endpoint-management "+quote(at+"/")+
			" --endpoint-active-directory "+quote(at+"/adfs")+
			" --endpoint-active-directory-resource-id "+quote(at+"/")+" --endpoint-active-directory-graph-resource-id "+quote(at+"/")+
			" --suffix-acr-login-server-endpoint "+quote(cloud.Suffixes.ACRLoginServer)+" --suffix-storage-endpoint core.localhost",
		"az cloud set --name "+cloudName,
	)
}

// azLogin returns the command that logs az in, or none without a password. The
// password is in no list of processes: az reads it from a file, or from its
// standard input, into which the shell itself writes it.
func azLogin(env Env, stored login, appID, passwordFile, tenant string) ([]string, error) {
	user := firstOf(appID, env.Getenv("DOCKBELL_USERNAME"), stored.Username)
	command := "az login --service-principal --username " + quote(user) + " --tenant " + quote(tenant) + " --output none --password "
	switch {
	case passwordFile == "" && env.Getenv("DOCKBELL_PASSWORD") == "":
		if appID != "" {
			return nil, Usage("service principal %s has no password here: use --password-file, or DOCKBELL_PASSWORD", appID)
		}
		env.hint("az is not logged in by this: add --app-id and --password-file, or set DOCKBELL_USERNAME and DOCKBELL_PASSWORD")
		return nil, nil
	case user == "":
		return nil, Usage("the password has no user name: use --app-id or DOCKBELL_USERNAME")
	case passwordFile == "":
		return []string{`printf %s "$DOCKBELL_PASSWORD" | ` + command + "@-"}, nil
	}
	path, err := filepath.Abs(passwordFile)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return nil, Usage("--password-file: %s", err)
	}
	return []string{command + quote("@"+path)}, nil
}

// quote makes of a text one word for a shell. Some of it comes from a server.
func quote(text string) string {
	plain := strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@,") == ""
	if plain && text != "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
