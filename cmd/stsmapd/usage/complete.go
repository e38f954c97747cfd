package usage

import (
	"strings"

	"github.com/spf13/cobra"
)

// Values offers the values of a flag. It panics if the command does not have the flag.
func Values(cmd *cobra.Command, flag string, values func() []string) {
	Dynamic(cmd, flag, func(string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	})
}

// Dynamic offers the values of a flag that begin as typed. It panics if the command does not have the flag.
func Dynamic(cmd *cobra.Command, flag string, values func(typed string) ([]string, cobra.ShellCompDirective)) {
	err := cmd.RegisterFlagCompletionFunc(flag,
		func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return values(typed)
		})
	if err != nil {
		panic(err)
	}
}

// Lists offers the values of a flag that takes several, separated by commas.
func Lists(cmd *cobra.Command, flag string, values ...string) {
	Dynamic(cmd, flag, func(typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndexByte(typed, ',')+1]
		all := make([]string, len(values))
		for i, v := range values {
			all[i] = before + v
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	})
}

// Files lets the shell complete arguments with the names of files.
func Files(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}
