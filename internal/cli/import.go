package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// importCommand copies an image of another registry, as az acr import does. Its
// user and password are the source's.
func importCommand(env Env) *cobra.Command {
	r := &registries{env: env, conn: connection{env: env, storedUser: true}, out: output{env: env}}
	var source, from, username, password string
	var images, untagged []string
	var force bool
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Copy an image of another registry into one of the server.",
		Long: "Copy an image of another registry into one of the server, which asks the other itself. --username and --password are for the other\n" +
			"registry; whoever imports is the user of dockbell login, or of DOCKBELL_USERNAME and DOCKBELL_PASSWORD.",
		Example: "  dockbell import -n contoso --source docker.io/library/alpine:3 --image base/alpine:3\n" +
			"  dockbell import -n contoso --source team/web:1.0 --registry fabrikam --force",
	}
	define := func(cmd *cobra.Command) {
		flags := cmd.Flags()
		flags.StringVar(&source, "source", "", "the image: `host/repository:tag`, host/repository@digest; without the host if there is --registry")
		flags.StringVarP(&from, "registry", "r", "", "the registry of this server that it comes from, by `name`, login server or id")
		flags.StringArrayVarP(&images, "image", "t", nil, "what it is called here, as `repository:tag`; may be given more than once; unless given, as there")
		flags.StringArrayVar(&untagged, "repository", nil, "a `repository` that it is in without a tag; may be given more than once")
		flags.StringVarP(&username, "username", "u", "", "`name` of a user of the other registry")
		flags.StringVarP(&password, "password", "p", "", "that user's `password`, or a token")
		flags.BoolVar(&force, "force", false, "overwrite tags that are there")
		flags.Bool("no-wait", false, "refused: the command ends when the image is there")
		flags.Lookup("no-wait").Hidden = true
	}
	return r.one(cmd, []string{"source"}, define, func(ctx context.Context, c *connected, name string) error {
		switch {
		case cmd.Flags().Changed("no-wait"):
			return Usage("--no-wait is not offered: an import answers when the image is there; let the shell run it in the background with &")
		case username != "" && password == "":
			return Usage("there is no --password for --username %s of the other registry", username)
		}
		what := controlclient.Import{TargetTags: images, Repositories: untagged, Mode: "NoForce"}
		if force {
			what.Mode = "Force"
		}
		var err error
		if what.Source, err = importSource(ctx, c, source, from); err != nil {
			return err
		}
		if password != "" {
			what.Source.Credentials = &controlclient.ImportCredentials{Username: username, Password: password}
		}
		if len(images)+len(untagged) == 0 {
			image, _, _ := strings.Cut(what.Source.SourceImage, "@")
			what.TargetTags = []string{image}
		}
		if err := c.Import(ctx, name, what); err != nil {
			return err
		}
		env.hint("imported %s into registry %s as %s", source, name, strings.Join(append(what.TargetTags, what.Repositories...), ", "))
		return nil
	})
}

// importSource takes --source and --registry apart. A host may have http:// before
// it, if it has no TLS.
func importSource(ctx context.Context, c *connected, source, from string) (s controlclient.ImportSource, err error) {
	switch {
	case strings.HasPrefix(strings.ToLower(from), "/subscriptions/"):
		return controlclient.ImportSource{ResourceID: from, SourceImage: source}, nil
	case from != "":
		found, err := c.Registry(ctx, c.named(from))
		if err != nil {
			return s, err
		}
		image := strings.TrimPrefix(source, found.Properties.LoginServer+"/")
		return controlclient.ImportSource{ResourceID: found.ID, SourceImage: image}, nil
	}
	scheme, rest, hasScheme := strings.Cut(source, "://")
	if !hasScheme {
		scheme, rest = "", source
	} else {
		scheme += "://"
	}
	host, image, ok := strings.Cut(rest, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" || image == "" {
		return s, Usage("--source %s does not begin with the host of a registry: write host/repository:tag, for example docker.io/library/alpine:3, or name a registry of this server with --registry", source)
	}
	return controlclient.ImportSource{RegistryURI: scheme + host, SourceImage: image}, nil
}
