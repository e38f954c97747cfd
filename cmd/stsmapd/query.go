package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/admin"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/config"
	"github.com/stsmapd/stsmapd/cmd/stsmapd/term"
	"github.com/stsmapd/stsmapd/socketmap"
)

// queryLimit is Postfix's own timeout. It is longer than the daemon lets a question wait.
const queryLimit = 100 * time.Second

// queryFlags are the flags of query.
type queryFlags struct {
	control controlFlags
	connect string
	mapName string
	health  bool
}

func newQuery() *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use:   "query [-m MAP] DOMAIN",
		Short: "Query the running daemon as Postfix does",
		Long: "Query the running daemon about a next hop, as Postfix does. Exit code 0: a policy, which is printed; " +
			"1: no policy, Postfix uses its own configuration, and the reason is printed on standard error; 2: an " +
			"error. With --health and no domain, exit code 0: the daemon answers; 2: it does not answer within 2 s.",
		Args: func(cmd *cobra.Command, args []string) error {
			if f.health {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	cmd.Flags().StringVarP(&f.mapName, "map", "m", "sts", "map name, as at the end of the socketmap in main.cf")
	cmd.Flags().BoolVar(&f.health, "health", false, "only check whether the daemon answers")
	cmd.Flags().StringVar(&f.connect, "connect", "", "the daemon's listener (default: the first of the configuration)")
	f.control.add(cmd)
	return cmd
}

func (f *queryFlags) run(cmd *cobra.Command, args []string) error {
	listener := f.connect
	if listener == "" {
		c, err := config.Load(f.control.config)
		if err != nil {
			return &exitCode{exitError, err}
		}
		listener = c.Listen[0]
	}
	if f.health {
		if err := admin.NewProber(listener).Probe(cmd.Context()); err != nil {
			return &exitCode{exitError, err}
		}
		return nil
	}
	reply, err := query(cmd.Context(), listener, f.mapName, args[0])
	if err != nil {
		return &exitCode{exitError, err}
	}
	switch reply.Status() {
	case socketmap.StatusOK:
		_, err := fmt.Fprintln(cmd.OutOrStdout(), term.Clean(reply.Data()))
		return err
	case socketmap.StatusNotFound:
		return &exitCode{exitNotFound, errors.New(f.whyNoPolicy(cmd.Context(), args[0]))}
	default:
		return &exitCode{exitError, fmt.Errorf("%s %s", reply.Status(), reply.Data())}
	}
}

func query(ctx context.Context, spec, mapName, key string) (socketmap.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	client, err := socketmap.Dial(ctx, spec)
	if err != nil {
		return socketmap.Reply{}, fmt.Errorf("query the daemon: %w", err)
	}
	defer client.Close()
	return client.Ask(ctx, mapName, key)
}
