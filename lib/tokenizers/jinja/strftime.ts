const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
] as const;

/** Python's `strftime` in the C locale, as far as templates use it; local time. */
export function strftime(date: Date, format: string): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const month = MONTHS[date.getMonth()] as string;
  return format.replace(/%[YmdbBHM%]/g, (directive) => {
    switch (directive[1]) {
      case 'Y':
        return String(date.getFullYear());
      case 'm':
        return two(date.getMonth() + 1);
      case 'd':
        return two(date.getDate());
      case 'b':
        return month.slice(0, 3);
      case 'B':
        return month;
      case 'H':
        return two(date.getHours());
      case 'M':
        return two(date.getMinutes());
      default:
        return '%';
    }
  });
}
