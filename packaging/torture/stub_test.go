package torture
func limitFaults() []fault {return nil}
func clockFaults() []fault {return nil}
func networkFaults() []fault {return nil}
func clientFaults() []fault {return nil}
