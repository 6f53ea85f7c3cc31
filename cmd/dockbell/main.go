// Command dockbell is a container registry that rings: the server, and the
// client of its control plane.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/cli"
	"github.com/dockbell/dockbell/internal/config"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	app.Version = version
	// Of this program nothing uses package log, but net/http does: it repeats
	// there what a receiver sent that nobody asked for.
	log.SetOutput(io.Discard)
	code := cli.Execute(ctx, cli.Root(cli.OSEnv(version), serveCommand(), healthCommand(), demoCommand()), os.Args[1:])
	stop()
	os.Exit(code)
}

func serveCommand() *cobra.Command {
	return withSettings(serve, &cobra.Command{
		Use:   "serve",
		Short: "Run the registry.",
		Example: `  dockbell serve
  dockbell serve --listen :5000 --external-url https://registry.example --tls-cert cert.pem --tls-key key.pem
  dockbell serve --allow-destinations 10.0.0.0/8`,
	})
}

func healthCommand() *cobra.Command {
	return withSettings(health, &cobra.Command{
		Use:   "health",
		Short: "Ask the server that runs here whether it is ready.",
		Long: `Ask the server that runs on this machine with these settings whether it is ready.
It is found by --listen, and by whether it serves HTTPS; flags, environment and
file are those of dockbell serve. The exit code is 0 if it is ready.`,
		Example: `  dockbell health
  dockbell health --listen :8443 --tls self-signed`,
	})
}

// withSettings has a command take the settings of the server, and run with them.
func withSettings(run func(context.Context, *config.Config) error, cmd *cobra.Command) *cobra.Command {
	loader := config.NewLoader()
	cmd.Args = cli.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loader.Load(os.Environ())
		if err != nil {
			return err
		}
		return run(cmd.Context(), cfg)
	}
	loader.Flags(cmd.Flags())
	cli.HelpWith(cmd, loader.Usages)
	return cmd
}

func health(ctx context.Context, cfg *config.Config) error {
	err := app.Health(ctx, cfg)
	if err == nil {
		fmt.Println("ready")
	}
	return err
}

func serve(ctx context.Context, cfg *config.Config) error {
	tune()
	log := logger(cfg)
	server, err := app.Open(ctx, cfg, log)
	switch {
	case err != nil && ctx.Err() != nil: // what was cut off fails in its own words
		log.Info("stopped before the server was ready", "while", err)
		return nil
	case err != nil:
		return err
	}
	server.Announce(os.Stdout)
	return server.Serve(ctx)
}

// tune sets what the Go runtime cannot know of this program, unless the
// environment says otherwise.
func tune() {
	if os.Getenv("GOMAXPROCS") == "" {
		// SQLite's writer spends much of its time in flushes, and the scheduler
		// takes a while to see that the processor it holds meanwhile is free.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOGC") == "" {
		// The heap is some ten MiB: collecting it less often costs little
		// memory and leaves more of the processors to pushes.
		debug.SetGCPercent(300)
	}
}

func logger(cfg *config.Config) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}

func demoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a push that rings: server, receiver, webhook and image, in a temporary folder.",
		Example: `  dockbell demo
  dockbell demo --once`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return app.Demo(cmd.Context(), os.Stdout, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "exit after the first ring; the exit code is 0 only if it came")
	return cmd
}
