// Command stsmapd makes Postfix keep MTA-STS (RFC 8461) when it sends mail.
//
// `stsmapd serve` is the daemon: Postfix asks it through a socketmap what TLS policy applies to a next-hop domain. The
// other commands query a running daemon, check a domain, or check this host's Postfix. Results go to stdout, messages
// to stderr.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/usage"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	return exitCode(root.ExecuteContext(ctx), stderr)
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	var printVersion bool
	root := usage.Command("stsmapd", usage.Group, func(cmd *cobra.Command, args []string) error {
		if printVersion {
			return writeVersion(cmd, args)
		}
		return cmd.Help()
	})
	root.SilenceErrors, root.SilenceUsage = true, true // run prints them
	root.Flags().BoolVar(&printVersion, "version", false, "print the version")
	root.SetFlagErrorFunc(usage.FlagError)
	root.SetHelpCommand(usage.Help())
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newServe(), newQuery(), newCheck(), newDeliveries(), newCache(), newWarm(), newStatus(),
		newPostfix(), newConfig(), newVersion())
	usage.Fit(root)
	return root
}

func newVersion() *cobra.Command { return usage.Command("version", usage.None, writeVersion) }

func writeVersion(cmd *cobra.Command, _ []string) error {
	_, err := io.WriteString(cmd.OutOrStdout(), versionText())
	return err
}

func versionText() string {
	return fmt.Sprintf("stsmapd %s (%s %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// nextVersion is the newest heading of CHANGELOG.md: the version of which a build without a tag is a preview.
const nextVersion = "0.9.0"

// version returns the version that the Go toolchain recorded in the binary: of a tag, or else nextVersion with the
// commit, or "-devel" where the commit is not known.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "v" + nextVersion + "-devel"
	}
	if commit, ok := strings.CutPrefix(info.Main.Version, "v0.0.0-"); ok {
		return "v" + nextVersion + "-0." + commit
	}
	return info.Main.Version
}
