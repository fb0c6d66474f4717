"""The API described: what each route takes and answers, the document made of that, and a page to read it."""
