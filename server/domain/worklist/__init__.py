"""The worklist: workitems of the Unified Procedure Step Service (PS3.18 chapter 11, PS3.4 Annex CC)."""
