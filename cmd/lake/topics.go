package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"lake/jobs"
)

// jobFileHelp is a page that is itself a job file: lake help job-file > job.yaml.
func jobFileHelp() *cobra.Command {
	cmd := &cobra.Command{Use: "job-file", Short: "all that a job file may say, with defaults"}
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), jobs.Reference()) })
	return cmd
}

func exitCodesHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "what each exit code means",
		Long: `Exit codes:

   0  done; also after SIGTERM or SIGINT with a clean last commit
   1  a check found a difference (lake test, lake audit, lake rules verify,
      compact's recount of the rules)
   2  the command line is wrong
   5  failed, worth a retry: a broker or a catalog did not answer
   7  failed, needs a person: dead letters above their ratio, rule state that no
      longer fits in memory, a missing file, a full disk, a warehouse's date
      that somebody else changed
  75  another run holds the job
  78  configuration: the job file, or a job that no longer is what filled its
      table
  99  lake load --skip-if-empty: there was nothing to load`,
	}
}
